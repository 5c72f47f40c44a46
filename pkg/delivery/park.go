package delivery

import (
	"context"
	"sync"
	"time"

	"github.com/hms-utl/extsync/internal/sleep"
	"github.com/hms-utl/extsync/pkg/delivery/internal/lanes"
	"github.com/hms-utl/extsync/pkg/delivery/internal/parking"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// Which keys are parked, and when, is decided in lanes. What is here moves their updates to
// the parked stream, and reads them back.

// defaultParkAfter is how long a key may fail before it is parked.
const defaultParkAfter = 30 * time.Second

// parkEvery is for how long what is to be parked is gathered while there is much of it.
const parkEvery = 5 * time.Millisecond

// A parker moves updates to the parked stream and back.
type parker struct {
	t      *tenure
	wake   chan struct{}
	untidy chan struct{} // what is settled may lie in the parked stream

	mu      sync.Mutex
	waiting []*lanes.Lane // that run has not begun with
}

// A moving is an update on its way to the parked stream.
type moving struct {
	lane *lanes.Lane
	item *lanes.Item
}

// add has lanes parked.
func (p *parker) add(more []*lanes.Lane) {
	if len(more) == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiting = append(p.waiting, more...)
	signal(p.wake)
}

func (p *parker) take() []*lanes.Lane {
	p.mu.Lock()
	defer p.mu.Unlock()
	taken := p.waiting
	p.waiting = nil
	return taken
}

// run parks the lanes that it is given until ctx ends. One update of each lane
// is on its way at a time: their order must be that of the lane even if one of them
// fails half-way. Nor does a lane with many wait for others, or they for it.
func (p *parker) run(ctx context.Context) {
	var mover *parking.Mover // most partitions never need it
	defer func() {
		if mover != nil {
			mover.Close()
		}
	}()
	var under []*lanes.Lane
	for {
		if len(under) == 0 {
			select {
			case <-ctx.Done():
				return
			case <-p.wake:
			}
		}
		if mover == nil {
			var err error
			if mover, err = p.t.parked.Mover(); err != nil { // the connection is closed
				p.t.fail(err)
				return
			}
		}
		under = p.round(ctx, mover, append(under, p.take()...))
		if len(under) == 0 {
			sleep.For(ctx, parkEvery)
		}
	}
}

// round parks the next update of each of some lanes, of parking.AtOnce at most, and
// returns those that are to go on, the others first.
func (p *parker) round(ctx context.Context, mover *parking.Mover, all []*lanes.Lane) []*lanes.Lane {
	n := min(len(all), parking.AtOnce)
	under, moves := p.nextMoves(all[:n])
	all = all[n:]
	p.t.quotas.fit(ctx, moves)
	mover.Move(ctx, moves)
	for i, m := range under {
		if err := moves[i].Err; err != nil {
			p.failed(m, err)
			continue
		}
		p.moved(m.lane, m.item, moves[i].At)
		all = append(all, m.lane)
	}
	return all
}

// nextMoves returns the first update of each lane that is not parked. Lanes that have none
// go on.
func (p *parker) nextMoves(all []*lanes.Lane) (under []moving, moves []parking.Move) {
	t := p.t
	t.begin()
	defer t.end()
	for _, l := range all {
		it := t.lanes.NextMove(l)
		if it == nil {
			continue
		}
		under = append(under, moving{lane: l, item: it})
		// A redelivery may replace the message in the item meanwhile.
		moves = append(moves, parking.Move{
			Key: l.Key().Encoded(), Msg: it.Msg, Digest: it.Tag.Digest, Seq: it.Seq, Stored: it.Published, Place: it.Where().String(),
		})
	}
	return under, moves
}

// moved notes that the parked stream has an update, and lets go of it but for the payload of one that
// was attempted, if there is room to keep it.
func (p *parker) moved(l *lanes.Lane, it *lanes.Item, seq uint64) {
	t := p.t
	t.begin()
	defer t.end()
	switch {
	case !t.lanes.Moved(l, it, seq):
	case !it.Tries.First.IsZero():
		t.contents.keep(it, true)
	default:
		it.Update.Payload = nil
	}
}

// failed lets a lane go on whose updates cannot be parked.
func (p *parker) failed(m moving, err error) {
	t := p.t
	t.log.Warn().Err(err).Str("key", m.lane.Key().Encoded()).Msg("park; the updates stay where they are, and it is tried again")
	t.begin()
	defer t.end()
	t.lanes.MoveFailed(m.lane, m.item)
}

// recover puts the updates that a former owner has parked into lanes,
// before anything is pulled.
func (p *parker) recover(ctx context.Context) error {
	t := p.t
	n, keys := 0, 0
	err := t.parked.All(ctx, func(one parking.Parked) {
		if !t.takes(one.Update.Key) { // no longer
			signal(p.untidy)
			return
		}
		key := t.view.Pin(one.Key)
		t.begin()
		defer t.end()
		t.lanes.Recovered(parkedItem(one), key)
		n, keys = n+1, t.lanes.Keys()
	})
	if n > 0 {
		t.log.Info().Int("updates", n).Int("keys", keys).Msg("parked updates loaded")
	}
	return err
}

func parkedItem(p parking.Parked) *lanes.Item {
	return &lanes.Item{
		Update: p.Update, Tag: versioning.Tag{Version: p.Update.Version, Digest: p.Digest}, Seq: p.Seq, Published: p.Stored,
		Parked: p.At, Came: time.Now(), Rim: lanes.Rim{Older: true},
	}
}

// load reads the next parked updates of a lane that has more than it may hold.
func (p *parker) load(l *lanes.Lane, from uint64) {
	t := p.t
	var got []*lanes.Item
	key := l.Key().Encoded()
	err := t.parked.OfKey(t.ctx, key, from, lanes.ParkedInMemory+1, func(one parking.Parked) { got = append(got, parkedItem(one)) })
	if err != nil {
		t.log.Warn().Err(err).Str("key", key).Msg("read parked updates")
	}
	t.begin()
	defer t.end()
	if err != nil {
		t.lanes.LoadFailed(l)
	} else {
		t.lanes.Loaded(l, got)
	}
}
