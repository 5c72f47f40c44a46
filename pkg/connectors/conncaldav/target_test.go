package conncaldav_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hms-utl/extsync/internal/testdb"
	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/internal/testkit/front"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/conncaldav"
	"github.com/hms-utl/extsync/pkg/connectors/connectortest"
	"github.com/hms-utl/extsync/pkg/connectors/connkit"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// A calendar is one of a real server, and what stands before it.
type calendar struct {
	server *testdb.CalDAV
	url    string // of the server itself
	path   string
	front  *front.Front
	direct *http.Transport // which keeps no connection, so that only the connector's are left
}

func servers() map[string]func(testing.TB) *testdb.CalDAV {
	return map[string]func(testing.TB) *testdb.CalDAV{"radicale": testdb.StartRadicale, "xandikos": testdb.StartXandikos}
}

func newCalendar(t testing.TB, s *testdb.CalDAV) *calendar {
	t.Helper()
	c := &calendar{server: s, url: s.NewCalendar(t), front: front.New(t, s.Addr(), front.AtOnce(4)), direct: &http.Transport{DisableKeepAlives: true}}
	u, err := url.Parse(c.url)
	testkit.Must(t, err)
	c.path = u.Path
	return c
}

// config is a configuration by way of what stands before the server.
func (c *calendar) config(more string) string {
	return fmt.Sprintf("url: http://%s%s\nauth: {basic: {username: %s, password: '${env:CHANNEL_PASSWORD}'}}\nallow_cidrs: [127.0.0.0/8]\n%s", c.front.Addr, c.path, c.server.User, more)
}

func (c *calendar) open(t testing.TB, more string) *connectors.Opened {
	t.Helper()
	o, err := connectors.Open(t.Context(), conncaldav.Kind(), connectortest.Env(c.secrets()), []byte(c.config(more)))
	testkit.Must(t, err)
	return o
}

func (c *calendar) secrets() map[string]string {
	return map[string]string{"CHANNEL_PASSWORD": c.server.Password}
}

// connect opens a connector that is closed with the test.
func (c *calendar) connect(t testing.TB, more string) *connectors.Opened {
	t.Helper()
	return closing(t, c.open(t, more))
}

func closing(t testing.TB, o *connectors.Opened) *connectors.Opened {
	t.Helper()
	t.Cleanup(func() {
		if err := o.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	return o
}

func nameOf(key string) string { return connkit.KeyName(key, false) + ".ics" }

// ask makes a request to the server itself, as somebody else would. The status is 0 if it
// is not there.
func (c *calendar) ask(t testing.TB, method, name, body string) (status int, header http.Header, answer string) {
	t.Helper()
	req, err := http.NewRequestWithContext(context.WithoutCancel(t.Context()), method, c.url+name, strings.NewReader(body))
	testkit.Must(t, err)
	req.SetBasicAuth(c.server.User, c.server.Password)
	req.Header.Set("Content-Type", "text/calendar; charset=utf-8")
	if method == "PROPFIND" {
		req.Header.Set("Content-Type", "application/xml")
		req.Header.Set("Depth", "1")
	}
	got, err := c.direct.RoundTrip(req)
	if err != nil {
		return 0, nil, ""
	}
	defer func() { _ = got.Body.Close() }() // only read from
	text, err := io.ReadAll(got.Body)
	if err != nil {
		return 0, nil, ""
	}
	return got.StatusCode, got.Header, string(text)
}

// put writes an object as somebody else would.
func (c *calendar) put(t testing.TB, name, body string) {
	t.Helper()
	if status, _, answer := c.ask(t, http.MethodPut, name, body); status/100 != 2 {
		t.Fatalf("cannot write %s: %d %s", name, status, answer)
	}
}

// object returns what the calendar has under the name of a key, "" if nothing.
func (c *calendar) object(t testing.TB, key string) string {
	t.Helper()
	// The server's file is faster than the server, which has enough to do.
	data, err := os.ReadFile(filepath.Join(c.server.Dir, filepath.FromSlash(c.path), nameOf(key)))
	body := string(data)
	if err == nil && !strings.HasSuffix(strings.TrimSpace(body), "END:VCALENDAR") {
		var status int
		if status, _, body = c.ask(t, http.MethodGet, nameOf(key), ""); status != http.StatusOK {
			return ""
		}
	}
	return strings.ReplaceAll(strings.ReplaceAll(body, "\r\n", "\n"), "\n ", "")
}

// value returns that of a property of an object, "" if it has none.
func value(object, name string) string {
	for line := range strings.Lines(object) {
		if rest, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSuffix(rest, "\n")
		}
	}
	return ""
}

// read asks the server itself what it holds.
func (c *calendar) read(t *testing.T, keys ...string) map[string]connectors.Held {
	t.Helper()
	out := map[string]connectors.Held{}
	for _, key := range keys {
		object := c.object(t, key)
		if object == "" {
			continue
		}
		held := connectors.Held{Op: events.Op(value(object, "X-EXTSYNC-OP"))}
		var err error
		if held.Version, err = versioning.Parse(value(object, "X-EXTSYNC-VERSION")); err != nil {
			t.Errorf("%v in %s", err, object)
		}
		if err := held.Digest.UnmarshalText([]byte(value(object, "X-EXTSYNC-DIGEST"))); err != nil {
			t.Errorf("%v in %s", err, object)
		}
		if cancelled := value(object, "STATUS") == "CANCELLED"; cancelled != (held.Op == events.Delete) {
			t.Errorf("cancelled %v, op %s", cancelled, held.Op)
		}
		out[key] = held
	}
	return out
}

// event is a payload as a channel's render makes it. It has no UID and no SEQUENCE.
func event(summary string, more ...string) []byte {
	lines := append([]string{
		"BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//example//tests//EN",
		"BEGIN:VEVENT", "DTSTAMP:20260301T080000Z", "DTSTART:20260402T090000Z", "DTEND:20260402T093000Z", "SUMMARY:" + summary,
	}, more...)
	return []byte(strings.Join(append(lines, "END:VEVENT", "END:VCALENDAR", ""), "\r\n"))
}

func attempt(key string, version int64, payload []byte) connectors.Attempt {
	u := events.Update{Channel: connectortest.Channel, Key: key, Version: testkit.Number(version), Op: events.Upsert, Payload: payload, ContentType: "text/calendar; charset=utf-8"}
	if payload == nil {
		u.Op = events.Delete
	}
	u = u.WithDefaults()
	return connectors.Attempt{Update: u, Digest: u.Digest(), Number: 1}
}

func apply(t testing.TB, c *connectors.Opened, a connectors.Attempt) connectors.Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), connectortest.Timeout)
	defer cancel()
	return c.Apply(ctx, []connectors.Attempt{a})[0]
}

func want(t testing.TB, what string, res connectors.Result, class connectors.Class, code string) {
	t.Helper()
	if res.Class != class || res.Code != code {
		t.Fatalf("%s: class %s, code %q (%v), want %s, %q; %s", what, res.Class, res.Code, res.Err, class, code, res.Response)
	}
}
