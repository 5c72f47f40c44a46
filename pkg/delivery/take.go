package delivery

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/delivery/internal/feed"
	"github.com/hms-utl/extsync/pkg/delivery/internal/lanes"
	"github.com/hms-utl/extsync/pkg/events"
)

// heldBytes is what an update takes in memory besides its payload, measured:
// the message with its headers, its item, its lane and its record, and as much
// again of what was let go of and is not collected yet.
const heldBytes = 8 << 10

// A tenure takes what its feed brings.

// Take decodes a message and puts it into its lane, waiting for room.
func (t *tenure) Take(ctx context.Context, m feed.Message) (err error) {
	it := &lanes.Item{Msg: m.Msg, Came: time.Now(), Published: m.Stored, Seq: m.Seq, Size: len(m.Data()) + heldBytes}
	it.Update, err = t.decode(m)
	if err != nil {
		it.Reset = t.latest() && wire.IsReset(m.Headers())
	}
	if !t.takes(it.Update.Key) {
		t.pass(it)
		return nil
	}
	if err != nil {
		it.Malformed = err
	} else {
		it.Tag = it.Update.Tag()
	}
	if err := t.awaitRoom(ctx); err != nil {
		return err
	}
	if err := t.share.Take(ctx, it.Size); err != nil {
		return err
	}
	t.intake(it, wire.KeyOfSubject(m.Subject()))
	return nil
}

// decode reads an update as the stream holds it. That of a topic is the channel's from then
// on.
func (t *tenure) decode(m interface {
	Subject() string
	Headers() nats.Header
	Data() []byte
},
) (events.Update, error) {
	u, err := wire.Decode(t.b.names, m.Subject(), m.Headers(), m.Data())
	if err == nil && u.Route() != t.route {
		err = fmt.Errorf("%w: subject %s is not of %s", events.ErrInvalidUpdate, m.Subject(), t.route)
	}
	u.Channel = t.p.r.entry.Config.Name
	return u, err
}

// takes reports whether the channel takes a key of the topic that it reads.
func (t *tenure) takes(key string) bool {
	return t.p.r.entry.Config.Takes(key)
}

// pass lets go of what is not the channel's.
func (t *tenure) pass(it *lanes.Item) {
	t.begin()
	defer t.end()
	t.lanes.Passed(it)
}

// intake takes an update, whose bytes are taken from the budget, into its lane. It never
// blocks.
func (t *tenure) intake(it *lanes.Item, enc string) {
	key := t.view.Pin(enc)
	t.begin()
	defer t.end()
	t.lanes.Arrived(it, key)
}

// awaitRoom waits until fewer updates are in hand than the window allows.
func (t *tenure) awaitRoom(ctx context.Context) error {
	for {
		t.mu.Lock()
		full := t.lanes.Full()
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

// Floor returns what is settled, and what has come.
func (t *tenure) Floor() feed.Floor {
	t.mu.Lock()
	defer t.mu.Unlock()
	floor := t.lanes.Floor()
	return feed.Floor{Seq: floor.Value(), Stored: floor.StoredAt(), Last: floor.Last()}
}

// Anew says that all above the floor comes again.
func (t *tenure) Anew() {
	t.mu.Lock()
	t.lanes.Anew()
	t.mu.Unlock()
	if t.takenOver.Load() { // the broker may have been killed
		signal(t.parker.untidy)
	}
}

// Slow reports whether nothing can be delivered at the moment.
func (t *tenure) Slow() bool { return t.p.r.gate.Shut() }

// A cursor keeps the feed's consumer in the partition's progress.
type cursor struct{ t *tenure }

// Consumer returns the name of the consumer that was made last, by whomever.
func (c cursor) Consumer() string { return c.t.progress.Now().Consumer }

// Move notes that a consumer begins.
func (c cursor) Move(ctx context.Context, floor feed.Floor, created int64, consumer string) error {
	return c.t.changeProgress(ctx, func(p *channels.Progress) {
		p.Floor, p.FloorTime, p.StreamCreated, p.Consumer, p.Done, p.Clean = floor.Seq, floor.Stored, created, consumer, 0, false
	})
}
