package conncaldav_test

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"testing"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connectortest"
	"github.com/hms-utl/extsync/pkg/events"
)

// The suite looks for goroutines that stay, so nothing runs beside it.
func TestConformance(t *testing.T) {
	for name, start := range servers() {
		t.Run(name, func(t *testing.T) {
			c := newCalendar(t, start(t))
			connectortest.Run(t, c.target())
		})
	}
}

func (c *calendar) target() connectortest.Target {
	f, path := c.front, func(key string) string { return c.path + nameOf(key) }
	return connectortest.Target{
		Open: func(t *testing.T) *connectors.Opened { t.Helper(); return c.open(t, "") },
		Read: c.read, Guarded: true, KeepsDigest: true, Tombstones: true, Times: true,
		Slow:      os.Getenv("EXTSYNC_TEST_FULL") == "",
		Payload:   func(text string) []byte { return event(text) },
		BadUpdate: func(u *events.Update) { u.Payload = []byte(`{"text":"JSON"}`) },
		Writes: func(_ *testing.T, key string) (n int) {
			f.Set(func() { n = f.Writes[path(key)] })
			return n
		},
		Cut:     func(*testing.T) { f.Set(func() { f.Down = true }) },
		Restore: func(*testing.T) { f.Set(func() { f.Down = false }) },
		LoseAnswer: func(*testing.T) func() {
			f.Set(func() { f.Lose = true })
			return func() { f.Set(func() { f.Lose = false }) }
		},
		Hang: func(_ *testing.T, key string) func() {
			release := make(chan struct{})
			f.Set(func() { f.Hang[path(key)] = release })
			return func() {
				f.Set(func() { delete(f.Hang, path(key)) })
				close(release)
			}
		},
		Faults:        c.faults(),
		Secrets:       []string{c.server.Password},
		OwnGoroutines: []string{"net/http.(*Server).Serve"},
	}
}

// refuse answers as a server of calendars does, and repeats what it was sent.
func (c *calendar) refuse(w http.ResponseWriter, status int, condition string) {
	w.Header().Set("Content-Type", "application/xml")
	w.Header().Set("Retry-After", "1")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, `<?xml version="1.0"?><d:error xmlns:d="DAV:" xmlns:c="urn:ietf:params:xml:ns:caldav">%s<d:x>%s</d:x></d:error>`, condition, c.server.Password)
}

func (c *calendar) faults() []connectortest.Fault {
	puts := func(name string, want connectors.Class, code string, answer func(http.ResponseWriter)) connectortest.Fault {
		return connectortest.Fault{Name: name, Want: want, Code: code, Arm: func(*testing.T, *events.Update) func() {
			c.front.Answers(answer)
			return c.front.Heal
		}}
	}
	says := func(status int, condition string, want connectors.Class, code string) connectortest.Fault {
		return puts(fmt.Sprint(status, " ", code), want, code, func(w http.ResponseWriter) { c.refuse(w, status, condition) })
	}
	return []connectortest.Fault{
		says(http.StatusForbidden, "", connectors.Misconfigured, "403"),
		says(http.StatusForbidden, "<c:valid-calendar-data/>", connectors.Permanent, "valid-calendar-data"),
		says(http.StatusConflict, "", connectors.Misconfigured, "409"),
		says(http.StatusConflict, "<c:no-uid-conflict><d:href>/x</d:href></c:no-uid-conflict>", connectors.Conflict, "no-uid-conflict"),
		says(http.StatusPreconditionFailed, "", connectors.Transient, "412"),
		says(http.StatusLocked, "<d:lock-token-submitted/>", connectors.Unready, "lock-token-submitted"),
		says(http.StatusTooManyRequests, "", connectors.Throttled, "429"),
		says(http.StatusServiceUnavailable, "", connectors.Throttled, "503"),
		says(http.StatusInternalServerError, "", connectors.Transient, "500"),
		says(http.StatusAccepted, "", connectors.Transient, "202"),
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
