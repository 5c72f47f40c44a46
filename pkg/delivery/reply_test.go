package delivery_test

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/publish"
)

// deliverBatches makes a backlog of n keys whose acks go to one subject, and has a worker
// deliver it in batches.
func (l *lab) deliverBatches(n int, to string, lines bool) {
	l.t.Helper()
	l.tg.batch = n
	for i := range n {
		u := update("cal", fmt.Sprintf("k%02d", i), 1)
		u.ReplyTo, u.ReplyLines = to, lines
		l.push(u)
	}
	l.work("w1")
}

// Acks that go to one subject share messages where their publisher allows it.
func TestAcksInLines(t *testing.T) {
	const n = 40
	for _, lines := range []bool{true, false} {
		t.Run(fmt.Sprint(lines), func(t *testing.T) {
			l := newLab(t, channel("cal", channels.Latest))
			inbox := l.Conn.NewInbox()
			sub, err := l.Conn.SubscribeSync(inbox)
			testkit.Must(t, err)
			l.deliverBatches(n, inbox, lines)
			ctx, cancel := context.WithTimeout(t.Context(), testkit.Patience)
			defer cancel()
			var keys []string
			messages := 0
			for ; len(keys) < n; messages++ {
				msg, err := sub.NextMsgWithContext(ctx)
				testkit.Must(t, err)
				for ack, err := range publish.DecodeAcks(msg.Data) {
					testkit.Must(t, err)
					if ack.Outcome != events.Delivered || ack.Version != testkit.Number(1) {
						t.Errorf("ack %+v", ack)
					}
					keys = append(keys, ack.Key)
				}
			}
			slices.Sort(keys)
			if keys = slices.Compact(keys); len(keys) != n {
				t.Errorf("acks of %d keys", len(keys))
			}
			if few := messages <= n/2; few != lines || !lines && messages != n {
				t.Errorf("%d acks in %d messages", n, messages)
			}
		})
	}
}

// A named service's acks share messages in the stream that keeps them, too.
func TestKeptAcksInLines(t *testing.T) {
	t.Parallel()
	const n = 40
	l := newLab(t, channel("cal", channels.Latest))
	names := events.DefaultNames()
	to, err := names.ServiceAck("billing", "all")
	testkit.Must(t, err)
	l.deliverBatches(n, to, true)
	ctx, cancel := context.WithTimeout(t.Context(), testkit.Patience)
	defer cancel()
	seen := map[string]bool{}
	for ack, err := range publish.ServiceAcks(ctx, l.JS, names, "billing") {
		testkit.Must(t, err)
		if seen[ack.Key] = true; len(seen) == n {
			break
		}
	}
	stream, err := l.JS.Stream(t.Context(), wire.AckStream(names))
	testkit.Must(t, err)
	if kept := stream.CachedInfo().State.Msgs; kept > n/2 {
		t.Errorf("%d acks in %d messages", n, kept)
	}
}
