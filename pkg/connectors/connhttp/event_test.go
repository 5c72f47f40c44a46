package connhttp

import (
	"bytes"
	"encoding/json"
	"flag"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	ce "github.com/cloudevents/sdk-go/v2"
	"github.com/cloudevents/sdk-go/v2/binding"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connectortest"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// TestCloudEventsSDK: what is sent is what the official SDK reads, in both modes.
func TestCloudEventsSDK(t *testing.T) {
	for _, mode := range []struct {
		body string
		want binding.Encoding
	}{{bodyPayload, binding.EncodingBinary}, {bodyEvent, binding.EncodingStructured}} {
		for name, a := range map[string]connectors.Attempt{"upsert": testAttempt(), "tombstone": testTombstone()} {
			t.Run(mode.body+" "+name, func(t *testing.T) {
				var got *ce.Event
				conn := openTo(t, Config{Body: mode.body}, func(_ http.ResponseWriter, r *http.Request) {
					m := cehttp.NewMessageFromHttpRequest(r)
					if m.ReadEncoding() != mode.want {
						t.Errorf("encoding %v, want %v", m.ReadEncoding(), mode.want)
					}
					var err error
					if got, err = binding.ToEvent(r.Context(), m); err != nil {
						t.Error(err)
					}
				})
				wantResult(t, apply(t, conn, a), connectors.OK, "200")
				if got == nil {
					t.Fatal("no event came")
				}
				if err := got.Validate(); err != nil {
					t.Fatal(err)
				}
				wantEvent(t, got, a)
			})
		}
	}
}

func wantEvent(t *testing.T, got *ce.Event, a connectors.Attempt) {
	t.Helper()
	for _, c := range []struct{ name, got, want string }{
		{"specversion", got.SpecVersion(), "1.0"},
		{"id", got.ID(), a.ID},
		{"source", got.Source(), a.Source},
		{"type", got.Type(), a.Type},
		{"subject", got.Subject(), a.Key},
		{"time", got.Time().Format(time.RFC3339Nano), a.Time.Format(time.RFC3339Nano)},
		{"data", string(got.Data()), string(a.Payload)},
	} {
		if c.got != c.want {
			t.Errorf("%s is %q, want %q", c.name, c.got, c.want)
		}
	}
	if len(a.Payload) > 0 && got.DataContentType() != a.ContentType {
		t.Errorf("datacontenttype is %q", got.DataContentType())
	}
	for name, want := range map[string]string{
		"entityversion": a.Version.String(), "op": string(a.Op), "baseversion": a.Base.String(), "entitydigest": a.Digest.String(),
	} {
		if got.Extensions()[name] != want {
			t.Errorf("%s is %v, want %q", name, got.Extensions()[name], want)
		}
	}
}

// TestStructuredPayload: JSON stays as it is, anything else travels in base64.
func TestStructuredPayload(t *testing.T) {
	for _, c := range []struct{ name, contentType, payload string }{
		{"text", "text/plain", "hello"},
		{"bytes", "application/octet-stream", "\x00\xff"},
		{"broken JSON", "application/json", "{"},
		{"JSON with characters of HTML", "application/json", `"<&>"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := testAttempt()
			a.ContentType, a.Payload = c.contentType, []byte(c.payload)
			texts := textsOf(&a)
			data, err := structured(&a, &texts)
			if err != nil {
				t.Fatal(err)
			}
			var e ce.Event
			if err := json.Unmarshal(data, &e); err != nil {
				t.Fatal(err)
			}
			if json.Valid(a.Payload) && !bytes.Contains(data, a.Payload) {
				t.Errorf("the payload was rewritten: %s", data)
			}
			if !bytes.Equal(e.Data(), a.Payload) || e.DataContentType() != c.contentType {
				t.Errorf("data is %q of %s", e.Data(), e.DataContentType())
			}
		})
	}
}

// TestHeadersCannotBeBroken: a key with any bytes is one header and comes back.
func TestHeadersCannotBeBroken(t *testing.T) {
	a := testAttempt()
	a.Key = "a b\"c%d\r\nX-Evil: 1\x00é日"
	var got http.Header
	conn := openTo(t, Config{}, func(_ http.ResponseWriter, r *http.Request) { got = r.Header.Clone() })
	wantResult(t, apply(t, conn, a), connectors.OK, "200")
	if got.Get("X-Evil") != "" {
		t.Error("the key made a header")
	}
	if want := "a%20b%22c%25d%0D%0AX-Evil:%201%00%C3%A9%E6%97%A5"; got.Get(events.HeaderSubject) != want {
		t.Errorf("ce-subject is %q, want %q", got.Get(events.HeaderSubject), want)
	}
}

//nolint:gochecknoglobals // a flag of the test binary
var update = flag.Bool("update", false, "write the golden files anew")

// TestGoldenRequests: a change of what targets get must be seen in review.
func TestGoldenRequests(t *testing.T) {
	for _, c := range []struct {
		name   string
		config Config
		a      connectors.Attempt
	}{
		{"payload", Config{URL: "/hook"}, testAttempt()},
		{"tombstone", Config{URL: "/hook"}, testTombstone()},
		{"delete", Config{URL: "/e/{key}?v={version}", Method: "PUT", Delete: &Shape{}}, testTombstone()},
		{"cloudevent", Config{URL: "/hook", Body: bodyEvent}, testAttempt()},
		{"signed", Config{
			URL: "/hook", Signing: Signing{Secrets: []connectors.Ref{"${env:SIGN}"}}, Headers: map[string]connectors.Ref{"x-tenant": "a"},
			Auth: Auth{APIKey: APIKey{Query: "key", Value: "${env:QUERY}"}},
		}, testAttempt()},
	} {
		t.Run(c.name, func(t *testing.T) {
			var raw []byte
			s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { raw = dumpRequest(t, r) }))
			t.Cleanup(s.Close)
			c.config.URL = connectors.Ref(s.URL) + c.config.URL
			c.config.AllowCIDRs = []string{"127.0.0.0/8"}
			env := connectortest.Env(map[string]string{"SIGN": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "QUERY": "a b&c"})
			conn, err := open(env, c.config, deps{now: func() time.Time { return time.Unix(1_700_000_000, 0) }})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close(t.Context()) }()
			wantResult(t, apply(t, conn, c.a), connectors.OK, "200")
			raw = bytes.ReplaceAll(raw, []byte(strings.TrimPrefix(s.URL, "http://")), []byte("HOST"))
			file := filepath.Join("testdata", c.name+".http")
			if *update {
				if err := os.WriteFile(file, raw, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(raw, want) {
				t.Errorf("the request has changed:\n%s\nwant:\n%s", raw, want)
			}
		})
	}
}

// dumpRequest returns a request in a form for people: its line, its headers in
// order of their names, its body.
func dumpRequest(t *testing.T, r *http.Request) []byte {
	t.Helper()
	var b bytes.Buffer
	b.WriteString(r.Method + " " + r.RequestURI + "\nHost: " + r.Host + "\n")
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Error(err)
	}
	var headers bytes.Buffer
	if err := r.Header.Write(&headers); err != nil {
		t.Error(err)
	}
	b.WriteString(strings.ReplaceAll(headers.String(), "\r\n", "\n") + "\n")
	b.Write(body)
	return b.Bytes()
}

// FuzzStructured: whatever an update holds, the SDK reads it back from the
// document.
func FuzzStructured(f *testing.F) {
	f.Add("k", "application/json", []byte(`{"a":1}`))
	f.Add("é\x00", "text/plain", []byte("x"))
	f.Fuzz(func(t *testing.T, key, contentType string, payload []byte) {
		u := events.Update{Channel: "c", Key: key, Version: versioning.Must(versioning.Number(1)), Payload: payload, ContentType: contentType}.WithDefaults()
		if u.Validate() != nil {
			return
		}
		a := connectors.Attempt{Update: u, Digest: u.Digest(), Number: 1}
		texts := textsOf(&a)
		data, err := structured(&a, &texts)
		if err != nil {
			t.Fatal(err)
		}
		var e ce.Event
		if err := json.Unmarshal(data, &e); err != nil {
			t.Fatalf("not an event: %v: %s", err, data)
		}
		if e.Subject() != key {
			t.Errorf("the key %q came back as %q", key, e.Subject())
		}
	})
}
