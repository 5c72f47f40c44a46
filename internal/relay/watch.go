package relay

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/hms-utl/extsync/internal/words"
)

// lookFor bounds how long the database may take to say how the outbox stands.
const lookFor = 10 * time.Second

// A Standing is how the outbox stands for one target.
type Standing struct {
	Oldest int64         // the id of the oldest row that waits; 0 if none does
	Age    time.Duration // of that row, by the database's clock
	Aside  int64         // rows that were set aside
}

// Standings returns how the outbox stands, by target.
func (d *Database) Standings(ctx context.Context) (map[string]Standing, error) {
	ctx, cancel := context.WithTimeout(ctx, lookFor)
	defer cancel()
	text := speechOf(d.Dialect)
	out := map[string]Standing{}
	for target, err := range targets(ctx, d.DB, text) {
		if err != nil {
			return nil, err
		}
		var s Standing
		var age sql.NullInt64
		err := d.QueryRowContext(ctx, text.oldest(), target).Scan(&s.Oldest, &age)
		if errors.Is(err, sql.ErrNoRows) { // published meanwhile
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("how old rows are: %w", err)
		}
		s.Age = max(0, time.Duration(age.Int64)*time.Microsecond)
		out[target] = s
	}
	return out, d.countAside(ctx, text, out)
}

func (d *Database) countAside(ctx context.Context, text speech, into map[string]Standing) error {
	err := d.each(ctx, text.aside(), func(scan func(...any) error) error {
		var target string
		var n int64
		err := scan(&target, &n)
		s := into[target]
		s.Aside = n
		into[target] = s
		return err
	})
	if err != nil {
		return fmt.Errorf("count what was set aside: %w", err)
	}
	return nil
}

// watchEvery is how often to look for what stalls.
func watchEvery(stallAfter time.Duration) time.Duration {
	return min(max(stallAfter/10, 50*time.Millisecond), 5*time.Second)
}

// Watch looks at how the outbox stands until ctx ends, tells the observer, and finds out
// which targets stall: their oldest row has been the same for so long.
func (r *Relay) Watch(ctx context.Context, stallAfter time.Duration) {
	tick := time.NewTicker(watchEvery(stallAfter))
	defer tick.Stop()
	since := map[string]time.Time{}
	before := map[string]Standing{}
	for {
		now, err := r.o.DB.Standings(ctx)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			r.o.Observer.Stands(now)
			r.holds.keep(func(target string) bool { return now[target].Oldest != 0 })
			moved := map[string]time.Time{}
			for target, s := range now {
				if moved[target] = since[target]; s.Oldest == 0 || s.Oldest != before[target].Oldest {
					moved[target] = time.Now()
				}
			}
			before, since = now, moved
		}
		r.findStalled(now, since, stallAfter, r.o.DB.explain(ctx, err))
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// findStalled notes which targets stall. A relay of which no target moves, and that has not
// been done with a row for as long, is not ready; nor is one that cannot read the outbox.
func (r *Relay) findStalled(now map[string]Standing, since map[string]time.Time, stallAfter time.Duration, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.problems, r.notes = nil, nil
	if err != nil {
		r.problems = []string{words.Of(err)}
		return
	}
	waiting := 0
	var stalled []string
	for _, target := range slices.Sorted(maps.Keys(now)) {
		if now[target].Oldest == 0 {
			continue
		}
		waiting++
		still := time.Since(since[target])
		if still < stallAfter {
			continue
		}
		line := fmt.Sprintf("target %s: row %d is the oldest for %s", target, now[target].Oldest, still.Round(time.Second))
		if why := r.holds.of(target).why; why != nil {
			line += ": " + words.Of(why)
		}
		stalled = append(stalled, line)
	}
	if len(stalled) == waiting && r.holds.sinceMoved() >= stallAfter {
		r.problems = stalled
	} else {
		r.notes = stalled
	}
}

// Problems says why the relay is not ready, as Watch has found; nil if it is.
func (r *Relay) Problems() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.problems
}

// Notes says which targets stall while others move.
func (r *Relay) Notes() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.notes
}
