package delivery

import (
	"context"
	"fmt"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/publish"
)

// A predecessor died between its commit and the acks: they are sent at the takeover,
// those of one subject together where their publisher allows it.
func TestAcksOfAPredecessorAreSentAtTheTakeover(t *testing.T) {
	b := newBench(t, acceptAll)
	tn := b.tenure(t, b.run(t, memoryChannel("cal", channels.Latest)))
	shared, single := b.Conn.NewInbox(), b.Conn.NewInbox()
	together, err := b.Conn.SubscribeSync(shared)
	testkit.Must(t, err)
	alone, err := b.Conn.SubscribeSync(single)
	testkit.Must(t, err)
	var entries []wire.Entry
	for i, to := range []string{shared, single, shared, single, shared} {
		entries = append(entries, wire.Entry{
			Key: fmt.Sprint("k", i), Sequence: uint64(i + 1), ReplyTo: to, ReplyLines: to == shared,
			Settlement: events.Settlement{Version: testkit.Number(int64(i + 1)), Outcome: events.Delivered, At: timestamp()},
		})
	}
	tn.fenced(t)
	_, err = tn.outcomes.Append(t.Context(), entries)
	testkit.Must(t, err)
	testkit.Must(t, tn.takeOver(t.Context()))

	ctx, cancel := context.WithTimeout(t.Context(), testkit.Patience)
	defer cancel()
	for _, want := range []struct {
		sub  *nats.Subscription
		keys string
	}{{together, "[k0 k2 k4]"}, {alone, "[k1]"}, {alone, "[k3]"}} {
		msg, err := want.sub.NextMsgWithContext(ctx)
		testkit.Must(t, err)
		var keys []string
		for ack, err := range publish.DecodeAcks(msg.Data) {
			testkit.Must(t, err)
			keys = append(keys, ack.Key)
		}
		if got := fmt.Sprint(keys); got != want.keys {
			t.Errorf("a message with the acks of %s, want %s", got, want.keys)
		}
	}
}
