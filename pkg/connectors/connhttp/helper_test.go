package connhttp

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connectortest"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// openTest opens a connector that is closed with the test.
func openTest(t *testing.T, c Config, d deps) connectors.Connector {
	t.Helper()
	return openWithin(t, testEnv().Timeout, c, d)
}

// openWithin opens a connector for a channel with a timeout.
func openWithin(t *testing.T, timeout time.Duration, c Config, d deps) connectors.Connector {
	t.Helper()
	env := testEnv()
	env.Timeout = timeout
	return openIn(t, env, c, d)
}

// openResolving is openWithin where another server resolves names.
func openResolving(t *testing.T, timeout time.Duration, c Config, names *net.Resolver) connectors.Connector {
	t.Helper()
	host := connectortest.Host(map[string]string{"TOKEN": testToken})
	host.Resolver = names
	env := host.Env(connectortest.Channel)
	env.Timeout = timeout
	return openIn(t, env, c, deps{now: time.Now})
}

func openIn(t *testing.T, env connectors.Env, c Config, d deps) connectors.Connector {
	t.Helper()
	conn, err := open(env, c, d)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := conn.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	return conn
}

// openTo opens a connector to a handler on a real server.
func openTo(t *testing.T, c Config, h http.HandlerFunc) connectors.Connector {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	c.URL = connectors.Ref(s.URL) + c.URL
	c.AllowCIDRs = []string{"127.0.0.0/8"}
	return openTest(t, c, deps{now: time.Now})
}

// testAttempt returns version 7 of the key "k/1".
func testAttempt() connectors.Attempt {
	u := events.Update{
		Channel: "calendar", Key: "k/1", Version: versioning.Must(versioning.Number(7)),
		Payload: []byte(`{"name":"x"}`), Source: "platform/policies", Type: "policy.changed",
		Time: time.Date(2026, 2, 3, 4, 5, 6, 700, time.UTC), TraceParent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
		TraceState: "vendor=1", Base: versioning.Must(versioning.Number(6)),
	}.WithDefaults()
	return connectors.Attempt{Update: u, Digest: u.Digest(), Number: 3}
}

func testTombstone() connectors.Attempt {
	a := testAttempt()
	a.Op, a.Payload = events.Delete, nil
	a.Digest = a.Update.Digest()
	return a
}

func applyOne(t *testing.T, c connectors.Connector) connectors.Result {
	t.Helper()
	return apply(t, c, testAttempt())
}

func apply(t *testing.T, c connectors.Connector, a connectors.Attempt) connectors.Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	got := c.Apply(ctx, []connectors.Attempt{a})
	if len(got) != 1 {
		t.Fatalf("%d results", len(got))
	}
	return got[0]
}

func wantResult(t *testing.T, got connectors.Result, class connectors.Class, code string) {
	t.Helper()
	if got.Class != class || got.Code != code {
		t.Errorf("class %s, code %q (error %v); want class %s, code %q", got.Class, got.Code, got.Err, class, code)
	}
	if (got.Err == nil) != (class == connectors.OK) {
		t.Errorf("class %s with error %v", got.Class, got.Err)
	}
}
