package delivery

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/internal/sleep"
	"github.com/hms-utl/extsync/pkg/events"
)

const (
	pullExpiry = 30 * time.Second
	// A pull's heartbeats are pullHeartbeat apart, further where a worker has many
	// partitions, so that there are 100 a second of all together: most of them have
	// nothing to do. Where there was traffic, and after a reconnect, the consumer is
	// asked instead whether it is there.
	pullHeartbeat, pullHeartbeatMost = 2 * time.Second, 10 * time.Second
	heartbeatShare                   = 10 * time.Millisecond
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
	// heldBytes is what an update takes in memory besides its payload, measured:
	// the message with its headers, its item, its lane and its record, and as much
	// again of what was let go of and is not collected yet.
	heldBytes = 8 << 10
	// pullAgain is after how long without an update the client is asked anew where
	// they came until then. It looks whether to send another pull when it is asked,
	// but not while the last one is still being sent: if all that was on its way comes
	// out meanwhile, it waits for more without having asked the broker for any.
	pullAgain = 100 * time.Millisecond
	// pullBackoff is how long nothing is pulled when the consumer is lost; up to
	// pullBackoffMost where the next one would be lost for a reason that is known.
	pullBackoff, pullBackoffMost = 100 * time.Millisecond, 5 * time.Second
	// lostAfter is how long what the consumer has sent may take to come out of the
	// client when nothing else does.
	lostAfter = 5 * time.Second
)

// pull moves updates from the consumer into the lanes until ctx ends. When the
// consumer is lost it makes another at the floor, if the lease still holds.
func (t *tenure) pull(ctx context.Context) {
	wait := pullBackoff
	for ctx.Err() == nil {
		err := t.pullFrom(ctx, t.consumer)
		if ctx.Err() != nil {
			return
		}
		t.log.Info().Err(err).Msg("consumer lost; making another")
		if _, err := t.settleHidden(ctx); err == nil {
			wait = pullBackoff
		} else if wait = min(2*wait, pullBackoffMost); ctx.Err() == nil {
			t.log.Warn().Err(err).Msg("the next consumer may be lost the same way")
		}
		if !sleep.For(ctx, wait) { // every loop backs off
			return
		}
		if err := t.renewConsumer(ctx); err != nil {
			if ctx.Err() == nil { // a drain is no failure: it is still to hand over
				t.fail(err)
			}
			return
		}
	}
}

// pullFrom returns why the consumer gives no more.
func (t *tenure) pullFrom(ctx context.Context, c jetstream.Consumer) error {
	partitions := max(1, int(t.b.tenures.Load()))
	messages := min(max(pullLeast, pullTotal/partitions), pullMost)
	heartbeat := min(max(pullHeartbeat, time.Duration(partitions)*heartbeatShare), pullHeartbeatMost)
	it, err := c.Messages(
		jetstream.PullMaxMessagesWithBytesLimit(messages, pullBytes),
		jetstream.PullExpiry(pullExpiry), jetstream.PullHeartbeat(heartbeat),
		jetstream.WithMessagesErrOnMissingHeartbeat(true))
	if err != nil {
		return err
	}
	defer it.Stop()
	sent := uint64(0) // by the consumer, at least
	rare := heartbeat > pullHeartbeat
	traffic := false // while heartbeats are rare: something came since it was asked
	busy := false    // something came just before
	for count := uint64(0); ; {
		last, within := count, t.p.r.hiddenCheck
		if sent > count {
			within = min(within, lostAfter)
		}
		if traffic {
			within = min(within, pullHeartbeat)
		}
		if busy {
			within = min(within, pullAgain)
		}
		if count, err = t.pullRound(ctx, it, last, within, !busy); err != nil {
			return err
		}
		asked := t.takeCheck()
		if count > last && !asked {
			traffic, busy = rare, true
			continue
		}
		if busy && !asked { // too early to say that nothing comes
			busy = false
			continue
		}
		if count < sent && !asked {
			return fmt.Errorf("%w: %d of %d", errMissing, sent-count, sent)
		}
		if !traffic && !asked {
			if found, err := t.settleHidden(ctx); err != nil || found {
				return errors.Join(errMissing, err)
			}
		}
		info, err := c.Info(ctx)
		if err != nil {
			return err
		}
		sent, traffic = info.Delivered.Consumer, false
	}
}

// pullRound takes what comes within some time, after count messages, and returns
// how many there were then. One context serves for all of them: making one for
// each costs more than it does to take the message. With once, it returns when
// something has come.
func (t *tenure) pullRound(ctx context.Context, it jetstream.MessagesContext, count uint64, within time.Duration, once bool) (uint64, error) {
	round, end := context.WithTimeout(ctx, within)
	defer end()
	t.setEndRound(end)
	defer t.setEndRound(nil)
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
		if err := t.take(ctx, msg, count); err != nil {
			return count, err
		}
		if t.p.r.gate.ClosedSince().IsZero() { // nothing can be delivered: it may stay at the broker
			sleep.For(ctx, pullWhileOpen)
		}
		if once {
			return count, nil
		}
	}
}

// checkConsumers has every partition look after its consumer: one in memory is
// gone when the broker was started again, and heartbeats tell that late.
func (m *manager) checkConsumers() {
	_, tenures := m.stats.status()
	for _, t := range tenures {
		t.checkConsumer()
	}
}

// checkConsumer has pull look after its consumer now.
func (t *tenure) checkConsumer() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.check = true
	if t.endRound != nil {
		t.endRound()
	}
}

// setEndRound notes how to end the round of pull that begins; nil: it is over.
func (t *tenure) setEndRound(end context.CancelFunc) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.endRound = end; t.check && end != nil {
		end()
	}
}

// takeCheck reports whether checkConsumer was called since it was asked last.
func (t *tenure) takeCheck() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	asked := t.check
	t.check = false
	return asked
}

// renewConsumer replaces a lost consumer. What is held comes again and is
// recognised by its sequence.
func (t *tenure) renewConsumer(ctx context.Context) error {
	t.mu.Lock()
	floor, storedAt, last := t.floor.Value(), t.floor.StoredAt(), t.floor.Last()
	t.mu.Unlock()
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		err := t.checkStream(ctx, floor, storedAt, last)
		if err == nil {
			err = t.replaceConsumer(ctx, floor, storedAt)
		}
		if err == nil || !events.IsUnavailable(err) {
			return err
		}
		t.log.Warn().Err(err).Msg("make another consumer")
		if !sleep.For(ctx, wait) {
			return context.Cause(ctx)
		}
	}
}

// take decodes a message and puts it into its lane, waiting for room. count is
// its number among all that this consumer, which nobody else pulls from, has
// sent. After a cut connection the client goes on with what comes next, and what
// was on the wire is missing: a later version must not be taken before it
// (guarantee 2), nor it be taken for settled when it comes again.
func (t *tenure) take(ctx context.Context, msg jetstream.Msg, count uint64) error {
	d, err := deliveryOf(msg)
	if err != nil {
		return fmt.Errorf("message of consumer: %w", err)
	}
	if d.number != count {
		return fmt.Errorf("%w: got number %d instead of %d", errMissing, d.number, count)
	}
	it := &item{msg: msg, came: time.Now(), published: d.published, seq: d.seq, size: len(msg.Data()) + heldBytes}
	it.u, err = events.Decode(t.b.names, msg.Subject(), msg.Headers(), msg.Data())
	if err != nil {
		it.reset = t.latest() && events.IsReset(msg.Headers())
	}
	if err == nil && it.u.Channel != t.p.r.entry.Config.Name {
		err = fmt.Errorf("%w: subject %s is of another channel", events.ErrInvalidUpdate, msg.Subject())
	}
	if err != nil {
		it.malformed = err
	} else {
		it.tag = it.u.Tag()
		it.replay = events.IsReplay(msg.Headers().Get(nats.MsgIdHdr))
	}
	if err := t.awaitRoom(ctx); err != nil {
		return err
	}
	if err := t.share.Take(ctx, it.size); err != nil {
		return err
	}
	if !t.intake(it, laneKey(msg.Subject())) {
		t.share.Give(it.size)
	}
	return nil
}

// awaitRoom waits until fewer updates are in hand than the window allows.
func (t *tenure) awaitRoom(ctx context.Context) error {
	for {
		t.mu.Lock()
		full := t.inHand >= t.p.r.entry.Config.Window
		t.mu.Unlock()
		if !full {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-t.wakePull:
		}
	}
}

// errMissing says that messages which the broker has sent did not come.
var errMissing = errors.New("messages of the consumer are missing")
