package connnats_test

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connectortest"
)

// A call on a connection that takes no more bytes ends with its time, and the next one has
// another connection.
func TestCallEndsWhereNothingCanBeWritten(t *testing.T) {
	d := newTarget(t, "bucket")
	c := d.open(t)
	want(t, apply(t, c, attempt("k", 1, "{}"))[0], connectors.OK, "")
	d.proxy.Freeze()
	const callers = 64 // more than the system takes for a socket
	results := make(chan connectors.Result, callers)
	payload := `"` + strings.Repeat("x", 1<<20-1<<10) + `"`
	for range callers {
		go func() {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			results <- c.Apply(ctx, []connectors.Attempt{attempt("k", 2, payload)})[0]
		}()
	}
	end := time.After(testkit.Patience)
	for range callers {
		select {
		case res := <-results:
			if res.Class != connectors.Transient {
				t.Errorf("class %s, code %q: %v", res.Class, res.Code, res.Err)
			}
		case <-end:
			t.Fatal("a call goes on")
		}
	}
	d.proxy.Heal()
	want(t, apply(t, c, attempt("k", 3, "{}"))[0], connectors.OK, "")
}

// A server that takes connections and says nothing leaves time to the others.
func TestSilentServerLeavesTimeToOthers(t *testing.T) {
	silent, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	testkit.Must(t, err)
	defer silent.Close() //nolint:errcheck // the test is over
	good := serve(t, &server.Options{JetStream: true})
	bucketAt(t, good)
	config := strings.Replace(string(lines(good, "")), "servers: [", "servers: ['nats://"+silent.Addr().String()+"', ", 1)
	for range 6 { // the library tries them in a random order
		c := openWith(t, connectortest.Env(nil), []byte(config))
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		a := attempt("k", 1, "{}")
		a.Held = true
		want(t, c.Apply(ctx, []connectors.Attempt{a})[0], connectors.OK, "")
		cancel()
	}
}
