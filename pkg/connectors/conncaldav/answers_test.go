package conncaldav_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/conncaldav"
	"github.com/hms-utl/extsync/pkg/connectors/connectortest"
)

// Refusals of real servers.
func TestRefusalsOfTheServers(t *testing.T) {
	t.Parallel()
	for name, start := range servers() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCalendar(t, start(t))
			o := c.connect(t, "")
			// Radicale says 400 without a condition.
			res := apply(t, o, attempt("bad", 1, event("bad", "RRULE:FREQ=NONSENSE")))
			if name == "radicale" {
				want(t, "a rule that is none", res, connectors.Permanent, "400")
			}
			elsewhere := func(path string) *connectors.Opened {
				config := strings.Replace(c.config(""), c.path, path, 1)
				opened, err := connectors.Open(t.Context(), conncaldav.Kind(), connectortest.Env(c.secrets()), []byte(config))
				testkit.Must(t, err)
				return closing(t, opened)
			}
			for path, code := range map[string]string{
				strings.TrimSuffix(c.path, "/") + "-not/": "404",
				c.path + "../": "no_calendar",
			} {
				o := elsewhere(path)
				if path == c.path+"../" && name == "radicale" {
					o = elsewhere("/" + c.server.User + "/")
				}
				want(t, path, apply(t, o, attempt("k", 1, event("x"))), connectors.Misconfigured, code)
				for what, err := range map[string]error{"Probe": o.Probe(t.Context()), "Read": second(o.Read(t.Context(), []string{"k"}))} {
					if connectors.ClassOf(err) != connectors.Misconfigured {
						t.Errorf("%s of %s: %v", what, path, err)
					}
				}
			}
			// The calendar is removed while the connector knows it for one.
			if status, _, answer := c.ask(t, http.MethodDelete, "", ""); status/100 != 2 {
				t.Fatalf("cannot delete the calendar: %d %s", status, answer)
			}
			if res := apply(t, o, attempt("k", 1, event("x"))); res.Class != connectors.Misconfigured || res.Code != "404" && res.Code != "409" {
				t.Errorf("without a calendar: class %s, code %s (%v)", res.Class, res.Code, res.Err)
			}
			if name == "radicale" { // Xandikos asks nobody for a password
				c.server.Password = "another"
				want(t, "a wrong password", apply(t, c.connect(t, ""), attempt("k", 1, event("x"))), connectors.Misconfigured, "401")
			}
		})
	}
}

func second[T any](_ T, err error) error { return err }

// description answers PROPFIND as a calendar does.
const description = `<?xml version="1.0"?><d:multistatus xmlns:d="DAV:" xmlns:c="urn:ietf:params:xml:ns:caldav"><d:response><d:href>/c/</d:href><d:propstat><d:prop><d:resourcetype><d:collection/><c:calendar/></d:resourcetype></d:prop><d:status>HTTP/1.1 200 OK</d:status></d:propstat></d:response></d:multistatus>`

// served opens a connector to a calendar whose objects are up to a handler.
func served(t *testing.T, more string, objects http.HandlerFunc) *connectors.Opened {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == "PROPFIND" {
			w.WriteHeader(http.StatusMultiStatus)
			_, _ = io.WriteString(w, description)
			return
		}
		objects(w, r)
	}))
	t.Cleanup(srv.Close)
	config := fmt.Sprintf("url: %s/c\nallow_cidrs: [127.0.0.0/8]\n%s", srv.URL, more)
	o, err := connectors.Open(t.Context(), conncaldav.Kind(), connectortest.Env(map[string]string{"CHANNEL_TOKEN": "a-token-of-the-tests"}), []byte(config))
	testkit.Must(t, err)
	return closing(t, o)
}

// Each code has the class of the table, however the server wraps it.
func TestCodes(t *testing.T) {
	t.Parallel()
	var code string
	var wrapped bool
	o := served(t, "", func(w http.ResponseWriter, r *http.Request) {
		condition := fmt.Sprintf(`<c:%s xmlns:c="urn:ietf:params:xml:ns:caldav"/>`, code)
		switch {
		case r.Method == http.MethodGet:
			w.WriteHeader(http.StatusNotFound)
		case wrapped:
			w.WriteHeader(http.StatusMultiStatus)
			_, _ = fmt.Fprintf(w, `<d:multistatus xmlns:d="DAV:"><d:response><d:status>HTTP/1.1 403 Forbidden</d:status><d:error>%s</d:error></d:response></d:multistatus>`, condition)
		default:
			w.WriteHeader(http.StatusForbidden)
			_, _ = fmt.Fprintf(w, `<d:error xmlns:d="DAV:">%s</d:error>`, condition)
		}
	})
	for _, m := range conncaldav.Codes() {
		if m.Code[0] >= '0' && m.Code[0] <= '9' {
			continue
		}
		for _, wrapped = range []bool{false, true} {
			code = m.Code
			want(t, m.Code, apply(t, o, attempt("k", 1, event("x"))), m.Class, m.Code)
		}
	}
	code, wrapped = "what-is-new", false
	want(t, code, apply(t, o, attempt("k", 1, event("x"))), connectors.Misconfigured, "403")
	wrapped = true
	want(t, code, apply(t, o, attempt("k", 1, event("x"))), connectors.Misconfigured, "403")
}

// A weak ETag is sent as a strong one, which holds where only a proxy has weakened it.
func TestWeakETags(t *testing.T) {
	t.Parallel()
	c := newCalendar(t, servers()["radicale"](t))
	o := c.connect(t, "")
	want(t, "1", apply(t, o, attempt("k", 1, event("one"))), connectors.OK, "")
	c.front.Set(func() {
		c.front.Rewrite = func(answer *http.Response) {
			if etag := answer.Header.Get("ETag"); etag != "" {
				answer.Header.Set("ETag", "W/"+etag)
			}
		}
	})
	want(t, "2", apply(t, o, attempt("k", 2, event("two"))), connectors.OK, "")
	weak := served(t, "", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `W/"1"`)
		if r.Method == http.MethodPut {
			w.WriteHeader(http.StatusPreconditionFailed)
			return
		}
		_, _ = w.Write(event("x", "X-EXTSYNC-VERSION:1", "X-EXTSYNC-OP:upsert", "X-EXTSYNC-DIGEST:"+strings.Repeat("ab", 32)))
	})
	want(t, "a server that has weak ones only", apply(t, weak, attempt("k", 2, event("two"))), connectors.Misconfigured, "weak_etag")
}

// Whatever answers, the connector gives a result soon, and writes over nothing that it
// cannot read.
func TestHostileAnswers(t *testing.T) {
	t.Parallel()
	object := func(lines ...string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("ETag", `"1"`)
			_, _ = w.Write(event("x", lines...))
		}
	}
	digest := "X-EXTSYNC-DIGEST:" + strings.Repeat("ab", 32)
	n := 0
	for name, c := range map[string]struct {
		get   http.HandlerFunc
		class connectors.Class
		code  string
	}{
		"no ETag": {func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(event("x")) }, connectors.Misconfigured, "no_etag"},
		"endless": {endless, connectors.Conflict, "too_large"},
		"not iCalendar": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("ETag", "x")
			_, _ = io.WriteString(w, "<html>")
		}, connectors.Conflict, "foreign"},
		"no version":    {object(), connectors.Conflict, "foreign"},
		"bad version":   {object("X-EXTSYNC-VERSION:seven", "X-EXTSYNC-OP:upsert", digest), connectors.Conflict, "foreign"},
		"bad digest":    {object("X-EXTSYNC-VERSION:7", "X-EXTSYNC-OP:upsert", "X-EXTSYNC-DIGEST:x"), connectors.Conflict, "foreign"},
		"bad op":        {object("X-EXTSYNC-VERSION:7", "X-EXTSYNC-OP:x", digest), connectors.Conflict, "foreign"},
		"newer":         {object("X-EXTSYNC-VERSION:9223372036854775807", "X-EXTSYNC-OP:upsert", digest), connectors.Stale, "stale"},
		"never changed": {object("X-EXTSYNC-VERSION:7", "X-EXTSYNC-OP:upsert", digest), connectors.Transient, "412"},
		"another page":  {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusFound) }, connectors.Unready, "302"},
		"broken off": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			_, _ = io.WriteString(w, "BEGIN:VCALENDAR")
		}, connectors.Transient, "closed"},
		"unknown coding": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "br")
			_, _ = io.WriteString(w, "x")
		}, connectors.Transient, "unread"},
		"always changed": {func(w http.ResponseWriter, r *http.Request) {
			n++
			w.Header().Set("ETag", fmt.Sprintf(`"%d"`, n))
			_, _ = w.Write(event("x", fmt.Sprint("X-EXTSYNC-VERSION:", n), "X-EXTSYNC-OP:upsert", digest))
		}, connectors.Transient, "timeout"},
	} {
		t.Run(name, func(t *testing.T) {
			o := served(t, "", func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodPut {
					w.WriteHeader(http.StatusPreconditionFailed)
					return
				}
				c.get(w, r)
			})
			ctx, cancel := context.WithTimeout(t.Context(), connectortest.Timeout)
			if c.code == "timeout" {
				ctx, cancel = context.WithTimeout(t.Context(), 300*time.Millisecond)
			}
			defer cancel()
			want(t, name, o.Apply(ctx, []connectors.Attempt{attempt("k", 1<<40, event("x"))})[0], c.class, c.code)
		})
	}
}

// endless answers with an object that does not end before the client has enough.
func endless(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("ETag", `"1"`)
	_, err := io.WriteString(w, "BEGIN:VCALENDAR\r\n")
	for line := "X-A:" + strings.Repeat("A", 60) + "\r\n"; err == nil; {
		_, err = io.WriteString(w, line)
	}
}

// Each way to authenticate, and what a preview shows of it.
func TestAuthorization(t *testing.T) {
	t.Parallel()
	var got string
	o := served(t, "auth: {bearer: '${env:CHANNEL_TOKEN}'}\n", func(w http.ResponseWriter, r *http.Request) {
		got = r.Header.Get("Authorization")
		w.WriteHeader(http.StatusNotFound)
	})
	_, err := o.Read(t.Context(), []string{"k"})
	testkit.Must(t, err)
	if got != "Bearer a-token-of-the-tests" {
		t.Errorf("it sends %q", got)
	}
	p, err := o.Preview(t.Context(), attempt("a/b", 7, event("x")))
	testkit.Must(t, err)
	if p.Method != http.MethodPut || !strings.HasSuffix(p.URL, "/c/a=2fb.ics") || p.Headers["Authorization"] != connectors.Hidden || p.Headers["If-None-Match"] != "*" ||
		!strings.Contains(string(p.Body), "UID:a=2fb@"+connectortest.Channel+"\r\n") {
		t.Errorf("the preview is %+v\n%s", p, p.Body)
	}
	if _, err := o.Preview(t.Context(), attempt("k", 7, []byte("x"))); connectors.ClassOf(err) != connectors.Permanent {
		t.Errorf("the preview of what is not iCalendar: %v", err)
	}
}

// A server outside of what is allowed is not connected to.
func TestNetworksAreTheOperators(t *testing.T) {
	t.Parallel()
	for config, denied := range map[string]bool{"url: http://localhost:1/c/": false, "url: http://10.0.0.1/c/\nallow_cidrs: [10.0.0.0/8]": true} {
		o, err := connectors.Open(t.Context(), conncaldav.Kind(), connectortest.Env(nil), []byte(config))
		if denied {
			if !errors.Is(err, connectors.ErrNotAllowed) {
				t.Errorf("%s: %v", config, err)
			}
			continue
		}
		testkit.Must(t, err)
		want(t, config, apply(t, closing(t, o), attempt("k", 1, event("x"))), connectors.Misconfigured, "address_denied")
	}
}
