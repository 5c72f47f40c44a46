package integration

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/hms-utl/extsync/internal/faults"
	"github.com/hms-utl/extsync/pkg/channels"
)

// tenPercent is what goes wrong at a target that is not well.
func tenPercent() faults.Trouble {
	return faults.Trouble{Errors: 0.08, Refused: 0.01, Cut: 0.01, Delay: 2 * time.Millisecond}
}

// kills says how long workers are killed.
type kills struct {
	rounds, updates, keys int
}

// killAtRandom kills workers as long as the load runs, at least so many times,
// now and then all of them at once. There are two workers at any other time.
func (r *rig) killAtRandom(p *publishing, l load, rounds int, seed uint64) {
	r.t.Helper()
	dice := rand.New(rand.NewPCG(seed, 1))
	workers := []*faults.Process{r.worker("w0"), r.worker("w1")}
	started := 2
	for round := 0; round < rounds || p.running(l.updates); round++ {
		r.pass(time.Duration(300+dice.IntN(1200)) * time.Millisecond)
		victims := []int{dice.IntN(2)}
		if dice.IntN(4) == 0 {
			victims = []int{0, 1}
		}
		for _, i := range victims {
			workers[i].Kill()
		}
		for _, i := range victims {
			workers[i] = r.worker(fmt.Sprintf("w%d", started))
			started++
		}
	}
	r.t.Logf("%d workers were started", started)
}

// A worker that dies loses nothing, repeats no older version and settles
// everything once, wherever its end catches it (guarantees 1 to 4).
func TestWorkersKilledAtRandom(t *testing.T) {
	t.Parallel()
	httpTarget := func(t *testing.T) (string, map[string]any, recorder) {
		tg := faults.NewHTTPTarget(t, faults.HTTPOptions{Seed: 1})
		tg.Cause(tenPercent())
		return "http", tg.Connector(), func() (faults.History, error) { return tg.History(), nil }
	}
	sqlTarget := func(make func(testing.TB) *faults.SQLTarget) func(*testing.T) (string, map[string]any, recorder) {
		return func(t *testing.T) (string, map[string]any, recorder) {
			tg := make(t)
			return "sql", tg.Connector(), func() (faults.History, error) { return tg.History(t.Context()) }
		}
	}
	tests := []struct {
		name        string
		mode        channels.Mode
		target      func(*testing.T) (string, map[string]any, recorder)
		small, full kills
	}{
		{"http latest", channels.Latest, httpTarget, kills{6, 3000, 60}, kills{40, 50_000, 500}},
		{"http every", channels.Every, httpTarget, kills{6, 3000, 60}, kills{40, 50_000, 500}},
		{"postgres every", channels.Every, sqlTarget(faults.NewPostgresTarget), kills{4, 2000, 50}, kills{20, 50_000, 500}},
		{"sqlite latest", channels.Latest, sqlTarget(faults.NewSQLiteTarget), kills{4, 2000, 50}, kills{20, 50_000, 500}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			size := sized(t, "rounds, updates, keys", tt.small, tt.full)
			r := newRig(t)
			kind, connector, target := tt.target(t)
			r.channel("c", tt.mode, kind, connector)
			l := load{channel: "c", keys: size.keys, updates: size.updates, over: time.Duration(size.rounds) * 900 * time.Millisecond}
			p := r.publish(l)
			r.killAtRandom(p, l, size.rounds, 7)
			r.check("c", tt.mode, p.wait(r), target)
		})
	}
}
