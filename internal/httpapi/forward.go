package httpapi

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/hms-utl/extsync/internal/broker"
	"github.com/hms-utl/extsync/internal/gateway"
	"github.com/hms-utl/extsync/internal/wire"
)

// forward has an administrator answer a request, whole: what it needs, whether its token
// will do, and the record of it are for the administrator, which runs the same code.
func (s *server) forward(w http.ResponseWriter, r *http.Request, op *huma.Operation) {
	var body []byte
	if op.RequestBody != nil {
		var p *Problem
		if body, p = readBody(r, maxAdminBody, problem(http.StatusBadRequest, "bad_request", "the body is cut off")); p != nil {
			p.write(w)
			return
		}
	}
	var answer gateway.Answer
	asked := func(subject string) bool { return broker.Within(wire.Administration(s.o.Client.Names), subject) }
	err := s.o.Client.Refusals.Do(r.Context(), asked, func(ctx context.Context) (err error) {
		answer, err = gateway.Forward(ctx, s.o.Client.JS.Conn(), wire.Administration(s.o.Client.Names), r, body)
		return err
	})
	if err != nil {
		s.problemOf(err).write(w)
		return
	}
	for name, values := range answer.Header {
		w.Header()[name] = values
	}
	w.WriteHeader(answer.Status)
	_, _ = w.Write(answer.Body) // the client has gone
}
