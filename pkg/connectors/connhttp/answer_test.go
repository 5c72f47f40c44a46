package connhttp

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// ruled returns a configuration with one rule.
func ruled(when, class string) Config { return Config{Answers: []Answer{{When: when, Class: class}}} }

// comparing returns a configuration by which a 409 shows what the target holds.
func comparing(version string) Config {
	return Config{Answers: []Answer{{When: ".status == 409", Class: "compare", Version: version, Digest: ".body.d"}}}
}

func TestWhatTheTargetHolds(t *testing.T) {
	own, other := testAttempt().Digest.String(), versioning.Sum("upsert", []byte("other")).String()
	for _, c := range []struct {
		name            string
		config          Config
		status          int
		version, digest string
		body            string
		want            connectors.Class
		held            string
	}{
		{name: "says nothing", status: 409, want: connectors.Unready},
		{name: "says nothing, failed precondition", status: 412, want: connectors.Conflict},
		{name: "newer", status: 409, version: "8", want: connectors.Stale, held: "8"},
		{name: "newer, failed precondition", status: 412, version: "8", want: connectors.Stale, held: "8"},
		{name: "newer by more than a float can tell", status: 409, version: "9007199254740993", want: connectors.Stale, held: "9007199254740993"},
		{name: "older", status: 409, version: "6", want: connectors.Conflict, held: "6"},
		{name: "same, digest unknown", status: 409, version: "7", want: connectors.Conflict, held: "7"},
		{name: "same, same digest", status: 409, version: "7", digest: own, want: connectors.OK},
		{name: "same, other digest", status: 412, version: "7", digest: other, want: connectors.Conflict, held: "7"},
		{name: "same, unreadable digest", status: 409, version: "7", digest: "abc", want: connectors.Conflict, held: "7"},
		{name: "newer, same digest", status: 409, version: "8", digest: own, want: connectors.Stale, held: "8"},
		{name: "a time", status: 409, version: "2026-01-01T00:00:00Z", want: connectors.Unready},
		{name: "not a version", status: 409, version: "new", want: connectors.Unready},
		{name: "not a refusal", status: 400, version: "8", want: connectors.Permanent},
		{name: "success", status: 200, version: "8", want: connectors.OK},
		{name: "status made a refusal", config: ruled(".status == 422", "compare"), status: 422, version: "8", want: connectors.Stale, held: "8"},
		{name: "refusal made a success", config: ruled(".status == 409", "ok"), status: 409, version: "8", want: connectors.OK},
		{name: "in the body", config: comparing(".body.current.v"), status: 409, body: `{"current":{"v":8}}`, want: connectors.Stale, held: "8"},
		{name: "large, in the body", config: comparing(".body.v"), status: 409, body: `{"v":9223372036854775807}`, want: connectors.Stale, held: "9223372036854775807"},
		{name: "as a string in the body", config: comparing(".body.v"), status: 409, body: `{"v":"9"}`, want: connectors.Stale, held: "9"},
		{name: "not in the body", config: comparing(".body.v"), status: 409, body: `{"w":8}`, want: connectors.Conflict},
		{name: "a fraction in the body", config: comparing(".body.v"), status: 409, body: `{"v":8.5}`, want: connectors.Conflict},
		{name: "body is not JSON", config: comparing(".body.v"), status: 409, body: `<html>`, want: connectors.Conflict},
		{name: "the rule before the header", config: comparing(".body.v"), status: 409, version: "6", body: `{"v":8}`, want: connectors.Stale, held: "8"},
		{name: "equal in the body", config: comparing(".body.v"), status: 409, body: `{"v":7,"d":"` + own + `"}`, want: connectors.OK},
		{name: "equal in the body, another digest", config: comparing(".body.v"), status: 409, body: `{"v":7,"d":"` + other + `"}`, want: connectors.Conflict, held: "7"},
		{name: "a time in the body", config: comparing(".body.v"), status: 409, body: `{"v":"2026-01-01T00:00:00Z"}`, want: connectors.Conflict},
		{name: "compared in a success", config: ruled("true", "compare"), status: 200, version: "8", want: connectors.Stale, held: "8"},
	} {
		t.Run(c.name, func(t *testing.T) {
			conn := openTo(t, c.config, func(w http.ResponseWriter, _ *http.Request) {
				if c.version != "" {
					w.Header().Set(events.HeaderVersion, c.version)
				}
				if c.digest != "" {
					w.Header().Set(HeaderDigest, c.digest)
				}
				w.WriteHeader(c.status)
				_, _ = io.WriteString(w, c.body)
			})
			got := applyOne(t, conn)
			wantResult(t, got, c.want, fmt.Sprint(c.status))
			if got.Held.Version.String() != c.held {
				t.Errorf("held is %q, want %q", got.Held.Version, c.held)
			}
		})
	}
}

// TestRuleIsBounded, whatever time the caller has.
func TestRuleIsBounded(t *testing.T) {
	r, err := compileRule("last(range(1e18))")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.eval(t.Context(), nil); !errors.Is(err, errRule) {
		t.Errorf("got %v", err)
	}
}

// TestWholeCallIsBounded: an answer whose body never ends is cut off.
func TestWholeCallIsBounded(t *testing.T) {
	config := Config{Answers: []Answer{{When: ".body.ok", Class: "permanent"}}, AllowCIDRs: []string{"127.0.0.0/8"}}
	config.URL = connectors.Ref(listenHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}))
	conn := openWithin(t, 300*time.Millisecond, config, deps{now: time.Now})
	wantResult(t, conn.Apply(t.Context(), []connectors.Attempt{testAttempt()})[0], connectors.Transient, "timeout")
}

// TestBodyIsCapped: of an answer without end no more than the limit is read.
func TestBodyIsCapped(t *testing.T) {
	const huge = 512 << 20
	var sent atomic.Int64
	conn := openTo(t, Config{}, func(w http.ResponseWriter, r *http.Request) {
		if got := r.Header.Get("Accept-Encoding"); got != "" {
			t.Errorf("the connector asks for %s", got)
		}
		w.WriteHeader(http.StatusInternalServerError)
		block := []byte(strings.Repeat("bomb", 16<<10))
		for sent.Load() < huge {
			if _, err := w.Write(block); err != nil {
				return // the client has gone, as it should
			}
			sent.Add(int64(len(block)))
		}
	})
	got := applyOne(t, conn)
	wantResult(t, got, connectors.Transient, "500")
	if len(got.Response) != connectors.MaxResponse || !strings.HasPrefix(got.Response, "bombbomb") {
		t.Errorf("the excerpt has %d bytes", len(got.Response))
	}
	if sent.Load() >= huge {
		t.Errorf("the whole answer was read")
	}
}

func TestExcerpt(t *testing.T) {
	long := strings.Repeat("é", connectors.MaxResponse)
	for _, c := range []struct{ name, body, want string }{
		{"short", "all is lost", "all is lost"},
		{"lines", "a\n\tb", "a\n\tb"},
		{"escape sequence", "a\x1b[31mb\x00\u009bc", "a [31mb  c"},
		{"not UTF-8", "a\xff\xfeb", "a\uFFFDb"},
		{"cut between characters", "x" + long, "x" + long[:connectors.MaxResponse-2]},
		{"own secret", "bad token " + testToken + "!", "bad token ***!"},
		{"own secret at the cut", strings.Repeat("x", connectors.MaxResponse-4) + testToken, strings.Repeat("x", connectors.MaxResponse-4) + "***"},
	} {
		t.Run(c.name, func(t *testing.T) {
			conn := openTo(t, Config{Auth: Auth{Bearer: "${env:TOKEN}"}}, func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(http.StatusBadRequest)
				_, _ = io.WriteString(w, c.body)
			})
			got := applyOne(t, conn).Response
			if got != c.want || !utf8.ValidString(got) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// FuzzExcerpt: whatever comes, and wherever it is cut, the excerpt is text of the
// length that was asked for and shows no secret, not even the beginning of one.
func FuzzExcerpt(f *testing.F) {
	f.Add([]byte("text"), 1024)
	f.Add([]byte("\xf0\x9f\x98"), 2)
	f.Add([]byte(strings.Repeat("secret", 20)), 3)
	f.Add([]byte("ääääsecrettoken"), 9)
	var c connectors.Scrubber
	c.Add("secret", "betokened")
	c.AddToken("token")
	f.Fuzz(func(t *testing.T, body []byte, most int) {
		most = 1 + (most&0x7fffffff)%connectors.MaxResponse
		got := c.Excerpt(body, most, false)
		if len(got) > most || !utf8.ValidString(got) || strings.Contains(got, "secret") || strings.Contains(got, "token") {
			t.Errorf("%q", got)
		}
		// A secret that lies across the end of what is looked at.
		for _, secret := range []string{"secret", "token", "betokened"} {
			text := append(bytes.Repeat([]byte("x"), most+len(body)%8), secret+strings.Repeat("y", 16)...)
			if got := c.Excerpt(text, most, false); strings.Trim(got, "x") != "" && !strings.HasPrefix(strings.Trim(got, "x"), "*") {
				t.Errorf("cut at %d: %q", most, got)
			}
		}
	})
}

// TestRedirectIsNotFollowed: the peers' bug was a POST that became an empty GET,
// whose 200 counted as delivered.
func TestRedirectIsNotFollowed(t *testing.T) {
	for _, status := range []int{301, 302, 303, 307, 308} {
		var elsewhere atomic.Bool
		conn := openTo(t, Config{URL: "/hook"}, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/hook" {
				elsewhere.Store(true)
				return
			}
			w.Header().Set("Location", "/elsewhere?token=in-the-location")
			w.WriteHeader(status)
		})
		got := applyOne(t, conn)
		wantResult(t, got, connectors.Unready, fmt.Sprint(status))
		if elsewhere.Load() {
			t.Errorf("%d was followed", status)
		}
		if !strings.Contains(got.Err.Error(), "redirects are not followed") || strings.Contains(got.Err.Error(), "in-the-location") {
			t.Errorf("error: %v", got.Err)
		}
	}
}
