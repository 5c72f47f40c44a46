package connhttp

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"testing"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connectortest"
	"github.com/hms-utl/extsync/pkg/events"
)

const testToken = "token-of-the-conformance-suite"

// rules say what the table says, in another way.
const rules = `
answers:
  - {when: '.body.nothing[]', class: permanent}
  - {when: '.status == 409 and .headers["ce-entityversion"] != null', class: compare, version: '.headers["ce-entityversion"]', digest: '.headers["ce-entitydigest"]'}
  - {when: '.status == 404', class: unready}
  - {when: '.status == 429 or (.text | test("slow down"))', class: throttled, retry_after: 1}
  - {when: '.status < 300', class: ok}
`

// TestConformance runs the suite against a receiver that guards itself and one
// that takes whatever comes last.
func TestConformance(t *testing.T) {
	for _, c := range []struct {
		name    string
		guarded bool
		config  string
	}{
		{"guarded receiver", true, "url: %[1]s/entities/{key}\nmethod: PUT\ndelete: {}\nprobe_url: %[1]s/\nread: {url: '%[1]s/entities/{key}'}\n"},
		{"guarded receiver, one URL", true, "url: %[1]s/hook?secret=${env:QUERY}&v={version}\nread: {url: '%[1]s/entities/{key}?secret=${env:QUERY}'}\n"},
		{"guarded receiver, rules", true, "url: %[1]s/entities/{key}\nmethod: PUT\ndelete: {}\nread: {url: '%[1]s/entities/{key}'}\n" + rules},
		{"plain receiver, rules", false, "url: %[1]s/hook\n" + rules},
		{"plain receiver", false, "url: %[1]s/hook\nprobe_url: %[1]s/\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newReceiver(t, c.guarded, testToken)
			config := fmt.Sprintf(c.config, r.url()) +
				"auth: {bearer: '${env:TOKEN}'}\nallow_cidrs: [127.0.0.0/8]\nheaders: {X-Api-Key: '${env:HEADER}'}\n"
			connectortest.Run(t, r.target(config))
		})
	}
	t.Run("guarded receiver, OAuth2", func(t *testing.T) {
		r := newReceiver(t, true, testToken)
		tokens := listenHTTP(t, (&issuer{always: testToken}).ServeHTTP)
		connectortest.Run(t, r.target(fmt.Sprintf(
			"url: %s/hook\nbody: cloudevent\nallow_cidrs: [127.0.0.0/8]\n"+
				"auth: {oauth2: {token_url: %s, client_id: me, client_secret: '${env:HEADER}'}}\n", r.url(), tokens)))
	})
}

func testEnv() connectors.Env {
	return connectortest.Env(map[string]string{"TOKEN": testToken, "QUERY": "secret-of-the-query", "HEADER": "secret-of-the-header"})
}

func (r *receiver) target(config string) connectortest.Target {
	return connectortest.Target{
		Open: func(t *testing.T) *connectors.Opened {
			t.Helper()
			c, err := connectors.Open(t.Context(), Kind(), testEnv(), []byte(config))
			if err != nil {
				t.Fatal(err)
			}
			return c
		},
		Read:        r.read,
		Guarded:     r.guarded,
		KeepsDigest: r.guarded,
		Tombstones:  r.guarded,
		Times:       true,
		BadUpdate:   func(u *events.Update) { u.Payload = []byte(`"` + refusedPayload + `"`) },
		Writes: func(_ *testing.T, key string) int {
			r.mu.Lock()
			defer r.mu.Unlock()
			return r.writes[key]
		},
		Cut:     func(*testing.T) { r.stop() },
		Restore: r.start,
		LoseAnswer: func(*testing.T) func() {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.cutOff = true
			return func() {}
		},
		Hang: func(_ *testing.T, key string) func() {
			r.mu.Lock()
			defer r.mu.Unlock()
			release := make(chan struct{})
			r.hang[key] = release
			return func() {
				r.mu.Lock()
				defer r.mu.Unlock()
				delete(r.hang, key)
				close(release)
			}
		},
		Faults:        r.faults(),
		OwnGoroutines: []string{"net/http.(*Server).Serve"},
		Secrets:       []string{testToken, "secret-of-the-query", "secret-of-the-header"},
	}
}

// faults are one answer of each class, a broken one, and an update that is at
// fault itself.
func (r *receiver) faults() []connectortest.Fault {
	answers := func(name string, want connectors.Class, code string, answer func(http.ResponseWriter)) connectortest.Fault {
		return connectortest.Fault{Name: name, Want: want, Code: code, Arm: func(*testing.T, *events.Update) func() {
			r.instead(answer)
			return func() { r.instead(nil) }
		}}
	}
	status := func(code int, want connectors.Class) connectortest.Fault {
		return answers(fmt.Sprint(code), want, fmt.Sprint(code), func(w http.ResponseWriter) {
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(code)
			// A target that repeats what it was sent must not get it into our records.
			_, _ = fmt.Fprintf(w, "you sent %s", testToken)
		})
	}
	return []connectortest.Fault{
		status(http.StatusInternalServerError, connectors.Transient),
		status(http.StatusServiceUnavailable, connectors.Throttled),
		status(http.StatusTooManyRequests, connectors.Throttled),
		status(http.StatusForbidden, connectors.Misconfigured),
		status(http.StatusFound, connectors.Unready),
		status(http.StatusNotFound, connectors.Unready),
		status(http.StatusConflict, connectors.Unready),
		status(http.StatusPreconditionFailed, connectors.Conflict),
		status(http.StatusUnprocessableEntity, connectors.Permanent),
		answers("no HTTP", connectors.Transient, "transport", func(w http.ResponseWriter) {
			raw(w, func(out *bufio.ReadWriter) { _, _ = out.WriteString("not HTTP at all\r\n\r\n") })
		}),
		answers("reset", connectors.Transient, "reset", func(w http.ResponseWriter) {
			conn := raw(w, func(*bufio.ReadWriter) {})
			_ = conn.(*net.TCPConn).SetLinger(0) // closing it sends a reset
			_ = conn.Close()
		}),
		{Name: "refused payload", Want: connectors.Permanent, Code: "422", Broken: true, Arm: func(_ *testing.T, u *events.Update) func() {
			u.Payload = []byte(`"` + refusedPayload + `"`)
			return func() {}
		}},
	}
}

// instead makes the receiver answer in another way, or with nil as it should.
func (r *receiver) instead(answer func(http.ResponseWriter)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = answer
}

// raw writes to the connection itself and closes it, unless it has nothing to
// write.
func raw(w http.ResponseWriter, write func(*bufio.ReadWriter)) net.Conn {
	conn, out, err := w.(http.Hijacker).Hijack()
	if err != nil {
		panic(err)
	}
	write(out)
	if out.Writer.Buffered() > 0 {
		_ = out.Flush()
		_ = conn.Close()
	}
	return conn
}
