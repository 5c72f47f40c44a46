package delivery

import (
	"context"
	"time"

	"github.com/hms-utl/extsync/internal/sleep"
	"github.com/hms-utl/extsync/pkg/delivery/internal/parking"
)

// parkEvery is for how long what is to be parked is gathered while there is much of it.
const parkEvery = 5 * time.Millisecond

// A moving is an update on its way to the parked stream.
type moving struct {
	lane *lane
	item *item
}

// startParking has parkLoop move what has to move, while the lane is busy. The
// caller holds mu and is the one who may attempt the lane.
func (t *tenure) startParking(l *lane) {
	l.busy, l.parked = true, true
	l.stopTimer()
	t.moving++ // draining waits for it
	t.toPark = append(t.toPark, l)
	signal(t.wakePark)
}

// endParking lets a lane go on whose updates are parked, or cannot be.
func (t *tenure) endParking(l *lane, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.moving--
	t.checkIdle()
	l.busy = false
	if err == nil {
		t.dropExcess(l)
		t.proceed(l)
		return
	}
	t.log.Warn().Err(err).Str("key", l.key).Msg("park; the updates stay where they are, and it is tried again")
	l.parked = l.queue[0].parked > 0
	l.due = maxTime(l.due, time.Now().Add(parkRetry))
	t.startTimer(l)
}

// parkLoop parks what startParking gives it until ctx ends. One update of each lane
// is on its way at a time: their order must be that of the lane even if one of them
// fails half-way. Nor does a lane with many wait for others, or they for it.
func (t *tenure) parkLoop(ctx context.Context) {
	var mover *parking.Mover // most partitions never need it
	defer func() {
		if mover != nil {
			mover.Close()
		}
	}()
	var lanes []*lane
	for {
		if len(lanes) == 0 {
			select {
			case <-ctx.Done():
				return
			case <-t.wakePark:
			}
		}
		if mover == nil {
			var err error
			if mover, err = t.parked.Mover(); err != nil { // the connection is closed
				t.fail(err)
				return
			}
		}
		lanes = t.parkRound(ctx, mover, append(lanes, t.takeToPark()...))
		if len(lanes) == 0 {
			sleep.For(ctx, parkEvery)
		}
	}
}

func (t *tenure) takeToPark() []*lane {
	t.mu.Lock()
	defer t.mu.Unlock()
	lanes := t.toPark
	t.toPark = nil
	return lanes
}

// parkRound parks the next update of each of some lanes, of parking.AtOnce at most, and
// returns those that are to go on, the others first.
func (t *tenure) parkRound(ctx context.Context, mover *parking.Mover, lanes []*lane) []*lane {
	n := min(len(lanes), parking.AtOnce)
	under, moves, done := t.nextMoves(lanes[:n])
	lanes = lanes[n:]
	for _, l := range done {
		t.endParking(l, nil)
	}
	mover.Move(ctx, moves)
	for i, m := range under {
		if err := moves[i].Err; err != nil {
			t.endParking(m.lane, err)
			continue
		}
		t.noteParked(m.item, moves[i].At)
		lanes = append(lanes, m.lane)
	}
	return lanes
}

// nextMoves returns the first update of each lane that is not parked, and the lanes
// that have none.
func (t *tenure) nextMoves(lanes []*lane) (under []moving, moves []parking.Move, done []*lane) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, l := range lanes {
		left := l.unparked()
		if len(left) == 0 {
			done = append(done, l)
			continue
		}
		it := left[0]
		under = append(under, moving{lane: l, item: it})
		// A redelivery may replace the message in the item meanwhile.
		moves = append(moves, parking.Move{Key: l.key, Msg: it.msg, Digest: it.tag.Digest, Seq: it.seq, Stored: it.published, Place: it.where().String()})
	}
	return under, moves, done
}

// noteParked lets go of an update that the parked stream has.
func (t *tenure) noteParked(it *item, seq uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.held[it.where()] == it {
		t.leaveHand(it)
		it.parked, it.size, it.msg = seq, 0, nil
		if it.attempts > 0 {
			t.keep(it)
		} else {
			it.u.Payload = nil
		}
	}
}
