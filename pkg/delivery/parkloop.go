package delivery

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/internal/sleep"
	"github.com/hms-utl/extsync/pkg/events"
)

const (
	// parkEvery is for how long what is to be parked is gathered while there is much
	// of it, and parkAtOnce how many updates are on their way to the stream then: one
	// at a time, each costs broker and worker several times as much.
	parkEvery  = 5 * time.Millisecond
	parkAtOnce = 256
	// parkPatience bounds the wait for the stream's answers.
	parkPatience = 5 * time.Second
)

// A move is an update on its way to the parked stream.
type move struct {
	lane *lane
	item *item
	msg  jetstream.Msg // a redelivery may replace it in item meanwhile
	err  error         // why it is not there
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
	l.due = latest(l.due, time.Now().Add(parkRetry))
	t.startTimer(l)
}

// parkLoop parks what startParking gives it until ctx ends. One update of each lane
// is on its way at a time: their order must be that of the lane even if one of them
// fails half-way. Nor does a lane with many wait for others, or they for it.
func (t *tenure) parkLoop(ctx context.Context) {
	var burst *events.Burst // most partitions never need it
	defer func() {
		if burst != nil {
			burst.Close()
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
		if burst == nil {
			var err error
			if burst, err = events.OpenBurst(t.b.js.Conn(), 2*parkAtOnce); err != nil { // the connection is closed
				t.fail(fmt.Errorf("parked stream: %w", err))
				return
			}
		}
		lanes = t.parkRound(ctx, burst, append(lanes, t.takeToPark()...))
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

// parkRound parks the next update of each of some lanes, of parkAtOnce at most, and
// returns those that are to go on, the others first.
func (t *tenure) parkRound(ctx context.Context, burst *events.Burst, lanes []*lane) []*lane {
	n := min(len(lanes), parkAtOnce)
	moves, done := t.nextMoves(lanes[:n])
	lanes = lanes[n:]
	for _, l := range done {
		t.endParking(l, nil)
	}
	t.parkMoves(ctx, burst, moves)
	for i := range moves {
		if m := &moves[i]; m.err != nil {
			t.endParking(m.lane, m.err)
		} else {
			lanes = append(lanes, m.lane)
		}
	}
	return lanes
}

// nextMoves returns the first update of each lane that is not parked, and the lanes
// that have none.
func (t *tenure) nextMoves(lanes []*lane) (moves []move, done []*lane) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, l := range lanes {
		if left := l.unparked(); len(left) > 0 {
			moves = append(moves, move{lane: l, item: left[0], msg: left[0].msg})
		} else {
			done = append(done, l)
		}
	}
	return moves, done
}

// parkMoves stores updates in the parked stream, at most parkAtOnce, and notes where
// they are or why they are not.
func (t *tenure) parkMoves(ctx context.Context, burst *events.Burst, moves []move) {
	ctx, cancel := context.WithTimeout(ctx, parkPatience)
	defer cancel()
	sent := make([]*move, 0, len(moves)) // nil: answered
	first, under := 0, 0
	for i := range moves {
		number, err := burst.Send(t.parkedMessage(&moves[i]))
		if err != nil {
			moves[i].err = fmt.Errorf("parked stream: %w", err)
			continue
		}
		if len(sent) == 0 {
			first = number
		}
		sent = append(sent, &moves[i])
		under++
	}
	end := func(place int, seq uint64, err error) {
		if place < 0 || place >= len(sent) || sent[place] == nil {
			return // of an earlier round
		}
		m := sent[place]
		sent[place] = nil
		under--
		if err != nil {
			m.err = fmt.Errorf("parked stream: %w", err)
			return
		}
		t.noteParked(m.item, seq)
	}
	for under > 0 { // at the latest ctx ends it
		a, err := burst.Next(ctx)
		switch {
		case err == nil:
			seq, _, err := a.Stored() // a duplicate was parked by a former try
			end(a.Number-first, seq, err)
		case errors.Is(err, nats.ErrDisconnected):
			for place := range burst.Lost() - first {
				end(place, 0, err)
			}
		default:
			for place := range sent {
				end(place, 0, err)
			}
		}
	}
}

// noteParked lets go of an update that the parked stream has.
func (t *tenure) noteParked(it *item, seq uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.held[it.place()] == it {
		t.leaveHand(it)
		it.parked, it.size, it.msg = seq, 0, nil
		if it.attempts > 0 {
			t.keep(it)
		} else {
			it.u.Payload = nil
		}
	}
}

// parkedMessage returns what is stored of an update in the parked stream.
func (t *tenure) parkedMessage(m *move) *nats.Msg {
	it := m.item
	msg := nats.NewMsg(t.b.names.Parked(t.p.r.entry.Config.Name, m.lane.key))
	msg.Data, msg.Header = m.msg.Data(), withoutBrokerHeaders(m.msg.Headers())
	seq, stored := strconv.FormatUint(it.seq, 10), it.published.UTC().Format(time.RFC3339Nano)
	msg.Header.Set(headerParkedSequence, seq)
	msg.Header.Set(events.HeaderChannelID, t.p.r.entry.ID)
	msg.Header.Set(headerParkedDigest, it.tag.Digest.String())
	msg.Header.Set(headerParkedID, m.msg.Headers().Get(nats.MsgIdHdr))
	msg.Header.Set(headerParkedSince, stored)
	msg.Header.Set(nats.MsgIdHdr, t.stream+":"+it.place().String()+":parked")
	return msg
}
