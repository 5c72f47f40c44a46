package connhttp

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

func readable(t *testing.T, read Read, answer http.HandlerFunc) connectors.Reader {
	t.Helper()
	if read.URL == "" {
		read.URL = "/held/{key}?a=b"
	}
	read.URL = connectors.Ref(listenHTTP(t, answer)) + read.URL
	return openTest(t, Config{
		URL: "https://example.org/", Read: read, AllowCIDRs: []string{"127.0.0.0/8"},
		Auth: Auth{APIKey: APIKey{Query: "key", Value: "${env:TOKEN}"}},
	}, deps{now: time.Now}).(connectors.Reader)
}

func TestRead(t *testing.T) {
	sum := versioning.Sum("upsert", []byte("x"))
	seven := versioning.Must(versioning.Number(7))
	for _, c := range []struct {
		name    string
		version string // the jq expression
		status  int
		header  map[string]string
		body    string
		want    connectors.Held
		class   string // of the error, if there is one
	}{
		{name: "nothing", status: 404},
		{name: "gone", status: 410},
		{name: "version", status: 200, header: map[string]string{"ce-entityversion": "7"}, want: connectors.Held{Tag: versioning.Tag{Version: seven}, Op: events.Upsert}},
		{
			name: "everything", status: 204, header: map[string]string{"ce-entityversion": "7", "ce-entitydigest": sum.String(), "ce-op": "delete"},
			want: connectors.Held{Tag: versioning.Tag{Version: seven, Digest: sum}, Op: events.Delete},
		},
		{name: "in the body", version: ".v", status: 200, body: `{"v":7}`, want: connectors.Held{Tag: versioning.Tag{Version: seven}, Op: events.Upsert}},
		{name: "header before body", version: ".v", status: 200, header: map[string]string{"ce-entityversion": "7"}, body: `{"v":8}`, want: connectors.Held{Tag: versioning.Tag{Version: seven}, Op: events.Upsert}},
		{name: "no version", status: 200, body: `{"v":7}`, class: "permanent"},
		{name: "not in the body", version: ".v", status: 200, body: `{}`, class: "permanent"},
		{name: "not JSON", version: ".v", status: 200, body: `<html>`, class: "permanent"},
		{name: "too long", version: ".v", status: 200, body: `{"pad":"` + strings.Repeat("x", maxBody) + `","v":7}`, class: "permanent"},
		{name: "not a version", status: 200, header: map[string]string{"ce-entityversion": "new"}, class: "permanent"},
		{name: "not a digest", status: 200, header: map[string]string{"ce-entityversion": "7", "ce-entitydigest": "x"}, class: "permanent"},
		{name: "not an op", status: 200, header: map[string]string{"ce-entityversion": "7", "ce-op": "x"}, class: "permanent"},
		{name: "redirect", status: 302, class: "unready"},
		{name: "credentials", status: 401, class: "misconfigured"},
		{name: "too many", status: 429, class: "throttled"},
		{name: "broken", status: 500, class: "transient"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := readable(t, Read{Version: c.version}, func(w http.ResponseWriter, req *http.Request) {
				if req.Method != http.MethodGet || req.URL.RequestURI() != "/held/a%2F%C3%A4?a=b&key="+testToken {
					t.Errorf("asked %s %s", req.Method, req.URL.RequestURI())
				}
				for name, value := range c.header {
					w.Header().Set(name, value)
				}
				w.WriteHeader(c.status)
				_, _ = io.WriteString(w, c.body)
			})
			got, err := r.Read(t.Context(), []string{"a/ä"})
			if c.class != "" {
				if err == nil || connectors.ClassOf(err).String() != c.class || strings.Contains(err.Error(), testToken) {
					t.Fatalf("got %v and %v, want an error of class %s", got, err, c.class)
				}
				return
			}
			if err != nil || !slices.Equal(got, []connectors.Held{c.want}) {
				t.Fatalf("got %+v, %v; want %+v", got, err, c.want)
			}
		})
	}
}

// TestReadIsBoundedByTheConcurrency: an audit is no attack.
func TestReadIsBoundedByTheConcurrency(t *testing.T) {
	var now, most atomic.Int64
	r := readable(t, Read{}, func(w http.ResponseWriter, req *http.Request) {
		n := now.Add(1)
		defer now.Add(-1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		w.Header().Set(events.HeaderVersion, strings.TrimPrefix(req.URL.Path, "/held/"))
	})
	keys := make([]string, 200)
	for i := range keys {
		keys[i] = fmt.Sprint(i + 1)
	}
	held, err := r.Read(t.Context(), keys)
	if err != nil {
		t.Fatal(err)
	}
	for i, h := range held {
		if h.Version.String() != keys[i] {
			t.Fatalf("key %s has version %s", keys[i], h.Version)
		}
	}
	if limit := int64(testEnv().Concurrency); most.Load() > limit {
		t.Errorf("%d calls at once, the channel has %d", most.Load(), limit)
	}
}

func TestReadConfig(t *testing.T) {
	for text, want := range map[string]string{
		"read: {url: 'https://example.org/held'}":              "read.url",
		"read: {url: 'https://example.org/{key}/{version}'}":   "read.url",
		"read: {url: 'ftp://example.org/{key}'}":               "read.url",
		"read: {url: 'http://127.0.0.1/{key}'}":                "read.url",
		"read: {version: .v}":                                  "read.url",
		"read: {url: 'https://example.org/{key}', version: (}": "read.version",
	} {
		if _, err := Decode([]byte("url: https://example.org/\n" + text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
	if _, err := Decode([]byte("url: https://example.org/\nread: {url: 'https://example.org/?k={key}', version: .v}")); err != nil {
		t.Error(err)
	}
}
