package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/pkg/events"
)

const (
	eventStreamType = "text/event-stream"
	// heartbeat keeps balancers from cutting the connection, and is when a revoked
	// token is noticed.
	heartbeat = 10 * time.Second
)

type acksInput struct {
	Service string `path:"service" maxLength:"200"`
	LastID  uint64 `header:"Last-Event-ID" doc:"Go on behind this event. Without it everything that is kept (24 hours) comes"`
}

func (s *server) acksRoute() {
	register(s, route{
		id: "follow-acks", method: http.MethodGet, path: "/v1/acks/{service}", tag: "Acks",
		summary: "Follow the acks of a service, as server-sent events", rule: read, status: http.StatusOK,
		responses: map[string]*huma.Response{"200": {
			Description: "Events of type ack, with a sequence as id and the ack as JSON. Every reader gets all of them",
			Content:     map[string]*huma.MediaType{eventStreamType: {Schema: &huma.Schema{Type: huma.TypeString}}},
		}},
	}, func(ctx context.Context, in *acksInput) (*huma.StreamResponse, error) {
		subject, err := s.o.Names.ServiceAcks(in.Service)
		if err != nil {
			return nil, err
		}
		// Of its own, not the service's durable one: resuming is up to the client's
		// Last-Event-ID, and a reader that may not see every channel takes nothing
		// away from another.
		consumer, err := s.o.JS.OrderedConsumer(ctx, s.o.Names.AckStream(), jetstream.OrderedConsumerConfig{
			FilterSubjects: []string{subject}, DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: in.LastID + 1,
		})
		if err != nil {
			return nil, fmt.Errorf("read the acks: %w", err)
		}
		return &huma.StreamResponse{Body: func(hctx huma.Context) {
			_, w := humago.Unwrap(hctx)
			if err := s.followAcks(hctx.Context(), w, consumer); err != nil {
				s.o.Logger.Debug().Err(err).Str("service", in.Service).Msg("acks are followed no more")
			}
		}}, nil
	})
}

// followAcks returns when the client has gone, its token is no longer valid, or
// the process ends: clients connect again with the last id they have seen.
func (s *server) followAcks(ctx context.Context, w http.ResponseWriter, consumer jetstream.Consumer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.o.Draining, cancel)()
	it, err := consumer.Messages()
	if err != nil {
		s.problemOf(err).write(w)
		return err
	}
	defer it.Stop()
	w.Header().Set("Content-Type", eventStreamType)
	w.Header().Set("X-Accel-Buffering", "no")
	w.WriteHeader(http.StatusOK)
	rc := http.NewResponseController(w)
	send := func(text string) error {
		_ = rc.SetWriteDeadline(time.Now().Add(writeTimeout)) // the server's writer can
		if _, err := w.Write([]byte(text)); err != nil {
			return err
		}
		return rc.Flush()
	}
	if err := send(": acks follow\n\n"); err != nil {
		return err
	}
	c := callerOf(ctx)
	for {
		next, stop := context.WithTimeout(ctx, heartbeat)
		msg, err := events.NextMessage(next, it)
		stop()
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case c.token != nil && !s.o.Tokens.Valid(c.token.ID):
			return errors.New("the token is no longer valid")
		case err == nil:
			err = s.sendAck(c, msg, send)
		case errors.Is(err, context.DeadlineExceeded), errors.Is(err, jetstream.ErrNoHeartbeat):
			err = send(": still here\n\n")
		}
		if err != nil {
			return err
		}
	}
}

// sendAck sends the acks of a message.
func (s *server) sendAck(c *caller, msg jetstream.Msg, send func(string) error) error {
	meta, err := msg.Metadata()
	if err != nil {
		return err
	}
	var out []string
	for ack, err := range events.DecodeAcks(msg.Data()) {
		if err != nil || !c.allows(ack.Channel) {
			continue // nobody can read it, or this one may not
		}
		data, err := json.Marshal(ack)
		if err != nil {
			return err
		}
		out = append(out, "event: ack\ndata: "+string(data)+"\n\n")
	}
	if len(out) == 0 {
		return nil
	}
	// Only the last one has the id: who is cut off before it gets all of them again.
	last := len(out) - 1
	out[last] = "id: " + strconv.FormatUint(meta.Sequence.Stream, 10) + "\n" + out[last]
	return send(strings.Join(out, ""))
}
