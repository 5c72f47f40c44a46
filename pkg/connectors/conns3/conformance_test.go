package conns3

import (
	"fmt"
	"net"
	"net/http"
	"testing"

	"github.com/hms-utl/extsync/internal/testkit/front"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connectortest"
	"github.com/hms-utl/extsync/pkg/events"
)

// TestConformance runs the suite on a real server, alone: it looks for goroutines that
// stay.
func TestConformance(t *testing.T) {
	for name, c := range map[string]struct {
		more    string
		guarded bool
	}{
		"json":  {"", true},
		"bytes": {"content: bytes\n", false},
	} {
		t.Run(name, func(t *testing.T) {
			s := startStore(t)
			target := s.target(s.config(c.more))
			target.Guarded, target.Ordered = c.guarded, !c.guarded
			if c.guarded {
				target.BadUpdate = func(u *events.Update) { u.Payload = []byte("{") }
			}
			connectortest.Run(t, target)
		})
	}
}

func (s *store) target(config string) connectortest.Target {
	f := s.front
	return connectortest.Target{
		Open: func(t *testing.T) *connectors.Opened { t.Helper(); return open1(t, config) },
		Read: s.read, KeepsDigest: true, Tombstones: true, Times: true,
		Writes: func(t *testing.T, key string) (n int) {
			f.Set(func() { n = f.Writes[objectPath(t, key)] })
			return n
		},
		Cut:     func(*testing.T) { f.Set(func() { f.Down = true }) },
		Restore: func(*testing.T) { f.Set(func() { f.Down = false }) },
		LoseAnswer: func(*testing.T) func() {
			f.Set(func() { f.Lose = true })
			return func() { f.Set(func() { f.Lose = false }) }
		},
		Hang: func(t *testing.T, key string) func() {
			release := make(chan struct{})
			f.Set(func() { f.Hang[objectPath(t, key)] = release })
			return func() {
				f.Set(func() { delete(f.Hang, objectPath(t, key)) })
				close(release)
			}
		},
		Faults:        faultsOf(f),
		Secrets:       []string{testKeyID, testSecret},
		OwnGoroutines: []string{"net/http.(*Server).Serve"},
	}
}

// refuse answers as S3 does.
func refuse(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/xml")
	w.Header().Set("Retry-After", "1")
	w.WriteHeader(status)
	// A store that repeats what it was sent must not get it into our records.
	_, _ = fmt.Fprintf(w, "<?xml version=\"1.0\"?>\n<Error><Code>%s</Code><Message>no, %s of %s</Message></Error>", code, testSecret, testKeyID)
}

func faultsOf(f *front.Front) []connectortest.Fault {
	puts := func(name string, want connectors.Class, code string, answer func(http.ResponseWriter)) connectortest.Fault {
		return connectortest.Fault{Name: name, Want: want, Code: code, Arm: func(*testing.T, *events.Update) func() {
			f.Answers(answer)
			return f.Heal
		}}
	}
	says := func(status int, code string, want connectors.Class) connectortest.Fault {
		return puts(code, want, code, func(w http.ResponseWriter) { refuse(w, status, code) })
	}
	return []connectortest.Fault{
		says(http.StatusForbidden, "AccessDenied", connectors.Misconfigured),
		says(http.StatusNotFound, "NoSuchBucket", connectors.Misconfigured),
		says(http.StatusNotImplemented, "NotImplemented", connectors.Misconfigured),
		says(http.StatusConflict, "ConditionalRequestConflict", connectors.Transient),
		says(http.StatusPreconditionFailed, "PreconditionFailed", connectors.Transient),
		says(http.StatusBadRequest, "RequestTimeout", connectors.Transient),
		says(http.StatusInternalServerError, "InternalError", connectors.Transient),
		says(http.StatusServiceUnavailable, "SlowDown", connectors.Throttled),
		says(http.StatusBadRequest, "EntityTooLarge", connectors.Permanent),
		puts("no HTTP", connectors.Transient, "transport", func(w http.ResponseWriter) {
			conn, out, err := w.(http.Hijacker).Hijack()
			if err == nil {
				_, _ = out.WriteString("not HTTP at all\r\n\r\n")
				_, _ = out.Flush(), conn.Close()
			}
		}),
		puts("reset", connectors.Transient, "reset", func(w http.ResponseWriter) {
			conn, _, err := w.(http.Hijacker).Hijack()
			if err == nil {
				_ = conn.(*net.TCPConn).SetLinger(0) // closing it sends a reset
				_ = conn.Close()
			}
		}),
	}
}
