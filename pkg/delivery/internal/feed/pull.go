package feed

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/internal/sleep"
)

// HeartbeatMost is how far apart the heartbeats of a pull are at most.
const HeartbeatMost = 10 * time.Second

const (
	pullExpiry = 30 * time.Second
	// A pull's heartbeats are pullHeartbeat apart, further where a worker has many
	// partitions, so that there are 100 a second of all together: most of them have
	// nothing to do. Where there was traffic, and after a reconnect, the consumer is
	// asked instead whether it is there.
	pullHeartbeat  = 2 * time.Second
	heartbeatShare = 10 * time.Millisecond
	// pullWhileOpen is how far apart updates are taken while the target is down:
	// new ones may be what gets through.
	pullWhileOpen = 100 * time.Millisecond
	// pullMost, or a partition's share of pullTotal, and pullBytes bound what lies
	// between broker and lanes, besides the window. What a fenced worker has buffered
	// still comes out of its client, and the lease is looked at before each call; a
	// pull that is too small leaves everybody waiting for the next one
	// (docs/adr/0018), where there are few partitions. What the client has buffered
	// is not in the byte budget: 3 KiB for each small update.
	pullLeast, pullMost = 16, 1024
	pullTotal           = 4096
	pullBytes           = 5 << 18 // above max_payload: the client stalls on a larger update
	// pullAgain is after how long without an update the client is asked anew where
	// they came until then. It looks whether to send another pull when it is asked,
	// but not while the last one is still being sent: if all that was on its way comes
	// out meanwhile, it waits for more without having asked the broker for any.
	pullAgain = 100 * time.Millisecond
	// lostAfter is how long what the consumer has sent may take to come out of the
	// client when nothing else does.
	lostAfter = 5 * time.Second
)

// pull returns why the consumer gives no more.
func (f *Feed) pull(ctx context.Context, c jetstream.Consumer) error {
	partitions := max(1, f.o.Feeds())
	messages := min(max(pullLeast, pullTotal/partitions), pullMost)
	heartbeat := min(max(pullHeartbeat, time.Duration(partitions)*heartbeatShare), HeartbeatMost)
	it, err := c.Messages(
		jetstream.PullMaxMessagesWithBytesLimit(messages, pullBytes),
		jetstream.PullExpiry(pullExpiry), jetstream.PullHeartbeat(heartbeat),
		jetstream.WithMessagesErrOnMissingHeartbeat(true))
	if err != nil {
		return err
	}
	defer it.Stop()
	f.gap = gap{from: 1}
	sent, upto := uint64(0), uint64(0) // by the consumer, at least, and up to which sequence
	rare := heartbeat > pullHeartbeat
	traffic := false // while heartbeats are rare: something came since it was asked
	busy := false    // something came just before
	for count := uint64(0); ; {
		last, within := count, f.o.HiddenCheck
		if sent > count {
			within = min(within, lostAfter)
		}
		if traffic {
			within = min(within, pullHeartbeat)
		}
		if busy {
			within = min(within, pullAgain)
		}
		if count, err = f.round(ctx, it, last, within, !busy); err != nil {
			return err
		}
		asked := f.takeCheck()
		if count > last && !asked {
			traffic, busy = rare, true
			continue
		}
		if busy && !asked { // too early to say that nothing comes
			busy = false
			continue
		}
		if count < sent && !asked {
			f.gap.to = upto + 1
			return fmt.Errorf("%w: %d of %d", ErrMissing, sent-count, sent)
		}
		if !traffic && !asked {
			if found, err := f.LookHidden(ctx); err != nil || found {
				return errors.Join(ErrMissing, err)
			}
		}
		info, err := c.Info(ctx)
		if err != nil {
			return err
		}
		sent, upto, traffic = info.Delivered.Consumer, info.Delivered.Stream, false
	}
}

// round takes what comes within some time, after count messages, and returns
// how many there were then. One context serves for all of them: making one for
// each costs more than it does to take the message. With once, it returns when
// something has come.
func (f *Feed) round(ctx context.Context, it jetstream.MessagesContext, count uint64, within time.Duration, once bool) (uint64, error) {
	round, end := context.WithTimeout(ctx, within)
	defer end()
	f.setEndRound(end)
	defer f.setEndRound(nil)
	inRound := jetstream.NextContext(round)
	for {
		msg, err := it.Next(inRound)
		if err != nil {
			if round.Err() != nil && ctx.Err() == nil {
				return count, nil
			}
			return count, err
		}
		count++
		if err := f.take(ctx, msg, count); err != nil {
			return count, err
		}
		if f.to.Slow() { // nothing can be delivered: it may stay at the broker
			sleep.For(ctx, pullWhileOpen)
		}
		if once {
			return count, nil
		}
	}
}

// take gives a message to the taker. count is its number among all that this consumer,
// which nobody else pulls from, has sent. After a cut connection the client goes on with
// what comes next, and what was on the wire is missing: a later version must not be
// taken before it (guarantee 2), nor it be taken for settled when it comes again.
func (f *Feed) take(ctx context.Context, msg jetstream.Msg, count uint64) error {
	d, err := deliveryOf(msg)
	if err != nil {
		return fmt.Errorf("message of consumer: %w", err)
	}
	if d.number != count {
		f.gap.to = d.seq
		return fmt.Errorf("%w: got number %d instead of %d", ErrMissing, d.number, count)
	}
	f.gap.from = d.seq + 1
	return f.to.Take(ctx, Message{Msg: msg, Seq: d.seq, Stored: d.published})
}
