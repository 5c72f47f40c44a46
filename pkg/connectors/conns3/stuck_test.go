package conns3

import (
	"context"
	"io"
	"net"
	"testing"
	"time"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connectortest"
)

// raw answers each request with a text, and keeps the connection.
func raw(t *testing.T, text string) (address string) {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	testkit.Must(t, err)
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { _ = conn.Close() })
			go func() {
				if n, _ := conn.Read(make([]byte, 1<<10)); n > 0 {
					_, _ = io.WriteString(conn, text)
				}
			}()
		}
	}()
	return l.Addr().String()
}

// within fails the test if a call has not ended after a while.
func within(t *testing.T, call func() error) (err error) {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- call() }()
	select {
	case err = <-done:
	case <-time.After(testkit.Patience):
		t.Fatal("the call goes on")
	}
	return err
}

// The connection behind the status 101 is no longer HTTP, and the transport heeds the
// request's context no more.
func TestSwitchedProtocolsEndTheCall(t *testing.T) {
	t.Parallel()
	c := opened(t, configFor("http://"+raw(t, "HTTP/1.1 101 X\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"), ""))
	calls := map[string]func(context.Context) error{
		"Apply": func(ctx context.Context) error {
			return c.Apply(ctx, []connectors.Attempt{attempt("k", 1, `{}`)})[0].Err
		},
		"List":  func(ctx context.Context) error { _, err := c.List(ctx, "", 10); return err },
		"Probe": c.Probe,
	}
	for name, call := range calls {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		if err := within(t, func() error { return call(ctx) }); err == nil {
			t.Errorf("%s: that is an answer", name)
		}
		cancel()
	}
}

// A call whose caller has no time of its own has the channel's.
func TestCallHasTheChannelsTimeout(t *testing.T) {
	t.Parallel()
	env := connectortest.Env(map[string]string{"KEY": testKeyID, "SECRET": testSecret})
	env.Timeout = 200 * time.Millisecond
	c, err := connectors.Open(t.Context(), Kind(), env, []byte(configFor("http://"+raw(t, ""), "")))
	testkit.Must(t, err)
	defer c.Close(t.Context()) //nolint:errcheck // nothing is lost by it
	var res connectors.Result
	_ = within(t, func() error {
		res = c.Apply(t.Context(), []connectors.Attempt{attempt("k", 1, `{}`)})[0]
		return nil
	})
	wantClass(t, "silence", res, connectors.Transient, "timeout")
}
