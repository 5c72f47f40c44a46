package connkafka_test

import (
	"context"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connectortest"
	"github.com/hms-utl/extsync/pkg/connectors/connkafka"
)

// never is what a broker does about a record that it does not answer.
func never(t *testing.T) (produced func() []byte) {
	t.Helper()
	over := make(chan struct{})
	t.Cleanup(func() { close(over) })
	return func() []byte {
		<-over
		return nil
	}
}

// soon returns what a call gives that is to end by itself.
func soon[T any](t *testing.T, call func() T) T {
	t.Helper()
	out := make(chan T, 1)
	go func() { out <- call() }()
	select {
	case got := <-out:
		return got
	case <-time.After(testkit.Patience):
		t.Fatal("the call goes on")
		panic("unreachable")
	}
}

// A broker that never answers is waited for as long as the channel's timeout says, also by a
// caller that sets no end.
func TestCallsHaveAnEnd(t *testing.T) {
	env := connectortest.Env(nil)
	env.Timeout = 300 * time.Millisecond
	addr := writable(t, topicAnswer, never(t))
	c, err := connectors.Open(t.Context(), connkafka.Kind(), env, []byte(config(addr, "people", "fence: none\n")))
	testkit.Must(t, err)
	defer c.Close(context.WithoutCancel(t.Context())) //nolint:errcheck // nothing is lost by it
	want(t, soon(t, func() connectors.Result {
		return c.Apply(context.Background(), []connectors.Attempt{attempt("k", 1, "{}")})[0]
	}), connectors.Transient, "timeout")
}

// A call that waits for its turn when the connector is closed, or comes later, ends.
func TestCallsEndWithTheConnector(t *testing.T) {
	asked := make(chan struct{}, 1)
	silent := never(t)
	addr := writable(t, topicAnswer, func() []byte {
		select {
		case asked <- struct{}{}:
		default: // it was asked before
		}
		return silent()
	})
	c := open(t, config(addr, "people", "fence: none\n"), nil)
	call := func() connectors.Result {
		return c.Apply(context.Background(), []connectors.Attempt{attempt("k", 1, "{}")})[0]
	}
	const calls = 4
	results := make(chan connectors.Result, calls)
	for range calls {
		go func() { results <- call() }()
	}
	<-asked
	testkit.Must(t, c.Close(context.WithoutCancel(t.Context())))
	for range calls {
		want(t, soon(t, func() connectors.Result { return <-results }), connectors.Transient, "canceled")
	}
	want(t, soon(t, call), connectors.Transient, "canceled")
}

// A broker that cannot be reached, for a reason that would block the channel, does not decide
// what becomes of calls to another one. It is told beside.
func TestTroubleOfAnotherBroker(t *testing.T) {
	addr := writable(t, func(version int16, addr string) []byte {
		return topicOf(version, addr, "10.255.255.1:9092") // where nobody may connect to
	}, never(t))
	c := connect(t, config(addr, "people", "fence: none\n"))
	var both []connectors.Attempt // of keys in either partition
	for i := range 16 {
		both = append(both, attempt(strconv.Itoa(i), 1, "{}"))
	}
	ctx, cancel := context.WithTimeout(connectors.WithPartition(t.Context(), 0), 2*time.Second)
	defer cancel()
	for _, res := range c.Apply(ctx, both) {
		want(t, res, connectors.Transient, "timeout")
		if !strings.Contains(res.Err.Error(), "10.255.255.1") {
			t.Errorf("%v: it does not say what is wrong with the other broker", res.Err)
		}
	}
}
