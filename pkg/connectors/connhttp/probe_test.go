package connhttp

import (
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hms-utl/extsync/pkg/connectors"
)

func TestProbe(t *testing.T) {
	for _, c := range []struct {
		status int
		want   connectors.Class
	}{
		{200, connectors.OK},
		{204, connectors.OK},
		{301, connectors.Transient},
		{404, connectors.Transient},
		{401, connectors.Misconfigured},
		{403, connectors.Misconfigured},
		{429, connectors.Transient},
		{503, connectors.Transient},
	} {
		t.Run(fmt.Sprint(c.status), func(t *testing.T) {
			url := listenHTTP(t, func(w http.ResponseWriter, r *http.Request) {
				if r.Method != http.MethodGet || r.URL.RequestURI() != "/health?a=b&key="+testToken {
					t.Errorf("the probe was %s %s", r.Method, r.URL.RequestURI())
				}
				w.WriteHeader(c.status)
			})
			conn := openTest(t, Config{
				URL: "https://example.org/", ProbeURL: connectors.Ref(url + "/health?a=b"), AllowCIDRs: []string{"127.0.0.0/8"},
				Auth: Auth{APIKey: APIKey{Query: "key", Value: "${env:TOKEN}"}},
			}, deps{now: time.Now})
			err := conn.(connectors.Prober).Probe(t.Context())
			if (err == nil) != (c.want == connectors.OK) || err != nil && connectors.ClassOf(err) != c.want {
				t.Errorf("got %v of class %s, want %s", err, connectors.ClassOf(err), c.want)
			}
		})
	}
}

// TestProbeWithRefusedToken: as with updates, a new token decides.
func TestProbeWithRefusedToken(t *testing.T) {
	var withdrawn atomic.Bool
	url := listenHTTP(t, func(w http.ResponseWriter, _ *http.Request) {
		if withdrawn.Load() {
			w.WriteHeader(http.StatusUnauthorized)
		}
	})
	conn := openTest(t, Config{
		URL: "https://example.org/", ProbeURL: connectors.Ref(url), AllowCIDRs: []string{"127.0.0.0/8"},
		Auth: Auth{OAuth2: OAuth2{TokenURL: connectors.Ref(listenHTTP(t, (&issuer{}).ServeHTTP)), ClientID: "me", ClientSecret: "${env:TOKEN}"}},
	}, deps{now: time.Now}).(connectors.Prober)
	if err := conn.Probe(t.Context()); err != nil {
		t.Fatal(err)
	}
	withdrawn.Store(true)
	for _, want := range []connectors.Class{connectors.Transient, connectors.Misconfigured} {
		if err := conn.Probe(t.Context()); err == nil || connectors.ClassOf(err) != want {
			t.Errorf("got %v, want class %s", err, want)
		}
	}
}

// TestCannotProbe: a connector without a probe URL does not pretend to know.
func TestCannotProbe(t *testing.T) {
	conn, err := connectors.Open(t.Context(), Kind(), testEnv(), []byte("url: https://example.org/"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	if can := conn.Can(); can.Probes || can.Reads || !errors.Is(conn.Probe(t.Context()), connectors.ErrUnable) {
		t.Errorf("it can %s", can)
	}
}
