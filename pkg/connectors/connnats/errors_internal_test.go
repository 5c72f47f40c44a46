package connnats

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// Each error means what the list says, however it is wrapped, and shows no words of the
// server's.
func TestErrors(t *testing.T) {
	for _, m := range meanings() {
		err, code := m.err, m.code
		if m.api != 0 {
			err, code = &jetstream.APIError{Code: 400, ErrorCode: m.api, Description: "value-canary"}, strconv.Itoa(int(m.api))
		}
		e := explain(t.Context(), fmt.Errorf("wrapped: %w", err))
		if e.Class != m.class || e.Code != code || strings.Contains(e.Error(), "value-canary") {
			t.Errorf("%s: class %s, code %q (%v)", code, e.Class, e.Code, e.Err)
		}
		if m.why == "" {
			t.Errorf("%s: nobody says why", code)
		}
	}
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	for _, c := range []struct {
		ctx  context.Context //nolint:containedctx // a case
		err  error
		code string
	}{
		{t.Context(), &jetstream.APIError{ErrorCode: 10999, Description: "value-canary"}, "10999"},
		{t.Context(), nats.ErrTimeout, "timeout"},
		{canceled, context.Canceled, "canceled"},
		{t.Context(), errors.New("value-canary"), "transport"},
	} {
		if e := explain(c.ctx, c.err); e.Class != connectors.Transient || e.Code != c.code || strings.Contains(e.Error(), "value-canary") {
			t.Errorf("%v: class %s, code %q (%v)", c.err, e.Class, e.Code, e.Err)
		}
	}
}

// Whatever the headers of a message are, it is the platform's or it is not.
func FuzzRead(f *testing.F) {
	f.Add("7", strings.Repeat("0a", 32), "upsert", "")
	f.Add("2026-03-01T12:00:00.5Z", "", "delete", "DEL")
	f.Add("", "x", "", "PURGE")
	f.Fuzz(func(t *testing.T, version, digest, op, operation string) {
		header := nats.Header{"ce-entityversion": {version}, "ce-entitydigest": {digest}, "ce-op": {op}, headerOperation: {operation}}
		m := read(header, 3, nil)
		v, err := versioning.Parse(version)
		switch {
		case m.sequence != 3:
			t.Error("the sequence is another one")
		case err != nil && !m.IsZero():
			t.Errorf("%q is read as %s", version, m.Version)
		case err == nil && (m.Version != v || m.foreign || m.Op == ""):
			t.Errorf("%q is read as %+v", version, m)
		}
	})
}
