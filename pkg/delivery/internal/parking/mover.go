package parking

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hms-utl/extsync/internal/wire"
)

const (
	// AtOnce is how many updates a Mover has on their way at most: one at a time, each costs
	// broker and worker several times as much.
	AtOnce = 256
	// movePatience bounds the wait for the stream's answers.
	movePatience = 5 * time.Second
)

// A Mover moves updates to the parked stream. It is for one goroutine.
type Mover struct {
	s     *Stream
	burst *wire.Burst
}

// Mover returns a mover. It fails only if the connection is closed.
func (s *Stream) Mover() (*Mover, error) {
	burst, err := wire.OpenBurst(s.o.JS.Conn(), 2*AtOnce)
	if err != nil {
		return nil, fmt.Errorf("parked stream: %w", err)
	}
	return &Mover{s: s, burst: burst}, nil
}

// Close lets go of what the mover holds.
func (m *Mover) Close() { m.burst.Close() }

// Move stores updates, at most AtOnce, and sets At or Err of each; one that has an Err is left
// out. It returns when all are answered, or none will be any more.
func (m *Mover) Move(ctx context.Context, moves []Move) {
	ctx, cancel := context.WithTimeout(ctx, movePatience)
	defer cancel()
	sent := make([]*Move, 0, len(moves)) // nil: answered
	first, under := 0, 0
	for i := range moves {
		if moves[i].Err != nil {
			continue
		}
		number, err := m.burst.Send(m.s.message(&moves[i]))
		if err != nil {
			moves[i].Err = fmt.Errorf("parked stream: %w", err)
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
			return // of an earlier call
		}
		if move := sent[place]; err != nil {
			move.Err = fmt.Errorf("parked stream: %w", err)
		} else {
			move.At = seq
		}
		sent[place] = nil
		under--
	}
	for under > 0 { // at the latest ctx ends it
		a, err := m.burst.Next(ctx)
		switch {
		case err == nil:
			seq, _, err := a.Stored() // a duplicate was parked by a former try
			end(a.Number-first, seq, err)
		case errors.Is(err, nats.ErrDisconnected):
			for place := range m.burst.Lost() - first {
				end(place, 0, err)
			}
		default:
			for place := range sent {
				end(place, 0, err)
			}
		}
	}
}
