package sim_test

import (
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/connectors"
)

// A plan is what a seed makes of a history.
type plan struct {
	config     channels.Config
	temper     temper
	workers    int
	publishers int
	keys       int // of each publisher
	updates    int
	latency    time.Duration // between processes and the broker, at most
	parkAfter  time.Duration
	length     time.Duration // for so long things happen
	happenings int
	older      bool // the broker comes back with what it held before
	second     second
}

func pick[T any](dice *rand.Rand, of ...T) T { return of[dice.IntN(len(of))] }

func duration(d time.Duration) connectors.Duration { return connectors.Duration(d) }

// ordinary begins the keys that a history is about.
const ordinary = "k"

func keyOf(n int) string { return ordinary + strconv.Itoa(n) }

func drawPlan(dice *rand.Rand) plan {
	p := plan{
		workers: 1 + dice.IntN(3), publishers: 1 + dice.IntN(2), keys: pick(dice, 3, 10, 30), updates: 200,
		latency: pick(dice, time.Millisecond, 5*time.Millisecond, 30*time.Millisecond), parkAfter: pick(dice, 2*time.Second, 30*time.Second),
		length: 12 * time.Second, happenings: dice.IntN(8), older: dice.IntN(12) == 0,
	}
	p.config = channels.Config{
		Name: channel, Mode: pick(dice, channels.Latest, channels.Every), Connector: channels.Connector{Kind: "memory"},
		Partitions: pick(dice, 1, 1, 4), Concurrency: pick(dice, 1, 4, 16), Window: pick(dice, 8, 64, 1024), Timeout: duration(2 * time.Second),
		Retry: channels.Retry{MaxAttempts: pick(dice, 3, 20), InitialBackoff: duration(100 * time.Millisecond), MaxBackoff: duration(2 * time.Second), UnreadyFor: duration(3 * time.Second)},
	}
	p.temper = temper{
		// What waited when the broker's files were saved is brought to the target again when
		// they are put back: a target that guards nothing goes back (guarantees.md).
		guarded: p.older || dice.IntN(3) > 0,
		batch:   pick(dice, 1, 1, 10), errors: pick(dice, 0, 0.05, 0.3), refuses: pick(dice, 0, 0.02),
		slow: pick(dice, 0, 10*time.Millisecond, 300*time.Millisecond), sick: map[string]span{},
	}
	if dice.IntN(3) == 0 {
		p.temper.down = append(p.temper.down, p.stretch(dice))
	}
	if dice.IntN(6) == 0 {
		p.temper.forbidden = append(p.temper.forbidden, p.stretch(dice))
	}
	for range dice.IntN(3) {
		p.temper.sick[keyOf(dice.IntN(p.keys))] = p.stretch(dice)
	}
	return p
}

// stretch draws a part of the history.
func (p *plan) stretch(dice *rand.Rand) span {
	from := time.Duration(dice.Int64N(int64(p.length)))
	return span{from, from + time.Duration(dice.Int64N(int64(p.length)))}
}
