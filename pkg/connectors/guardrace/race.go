// Package guardrace finds out at a real target whether an older version can replace a
// newer one there. Conditional writes are advertised more often than they are atomic,
// and a receiver that compares versions before it writes, and not while it writes,
// passes every test with one writer.
//
// A race has rounds. In each, eight writers that know nothing of each other send
// different versions of one key at once, each by a connector of its own, as eight workers
// would that all believe to own the key. Then one more version comes late: it is older
// than the newest of the round and newer than all others. After each round the target
// must hold the newest version, and whatever it took must have come in an order in which
// versions only rise. A race that finds nothing is no proof: it has met nothing.
package guardrace

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// The size of a race.
const (
	Writers = 8
	Rounds  = 20
	// Writes is how often a race writes: all writers and the late version in each round,
	// and a tombstone at the end. An attempt that the target had no time for is repeated.
	Writes = Rounds*perRound + 1

	perRound = Writers + 1
)

// KeyPrefix begins the keys that are reserved for races: no entity has one.
const KeyPrefix = "extsync-guard-"

const (
	// patience is how long an attempt is repeated while the target has no time for it.
	patience     = 20 * time.Second
	firstPause   = 5 * time.Millisecond
	longestPause = time.Second
)

var (
	// ErrNothingToRace says that the guard is not the target's: there is nothing that
	// could hold.
	ErrNothingToRace = errors.New("there is nothing to race")
	// ErrNoRace says that the race could not be run to its end.
	ErrNoRace = errors.New("the race could not be run")
)

// Check returns ErrNothingToRace unless the target itself takes part in the guard.
func Check(guard connectors.Guard) error {
	switch guard {
	case connectors.GuardAtomic, connectors.GuardConditional, connectors.GuardByFormat:
		return nil
	default:
		return fmt.Errorf("%w: the guard is %q: %s", ErrNothingToRace, guard, guard.Meaning())
	}
}

// A Race is what is needed to run one.
type Race struct {
	// Guard is what is said to hold, one for which Check returns nil.
	Guard connectors.Guard
	// Writers are connectors to one target that share nothing. The caller closes them.
	Writers [Writers]connectors.Sender
	// First is the first version to be written. Those behind it follow it by one, or by a
	// second. The target must hold no newer one of the key.
	First versioning.Version
	// Attempt returns the attempt that writes a version of the key, always the same key. It
	// may be called by several at once.
	Attempt func(v versioning.Version, op events.Op) connectors.Attempt
	// Read returns what the target holds of the key. nil: it cannot be read, and its
	// answers alone are judged.
	Read func(ctx context.Context) (connectors.Held, error)
	// Timeout bounds one call of Apply.
	Timeout time.Duration
}

// Run runs the race and deletes the key at the end, by a version that is newer than all
// others. The error wraps ErrNoRace, or is that of ctx; the report says also then what was
// found before it, and whether the key stays at the target.
func (r Race) Run(ctx context.Context) (Report, error) {
	run := &running{Race: r, report: Report{Guard: r.Guard, Writers: Writers, First: r.First, Violations: []Violation{}}}
	last, err := after(r.First, Writes-1)
	if err != nil {
		return run.report, fmt.Errorf("%w: the first version is too large: %w", ErrNoRace, err)
	}
	err = run.rounds(ctx)
	run.bury(ctx, last, err == nil)
	if err != nil && ctx.Err() == nil {
		err = fmt.Errorf("%w: %w", ErrNoRace, err)
	}
	return run.report, err
}

// after returns the version that follows v by n.
func after(v versioning.Version, n int) (versioning.Version, error) {
	if at, ok := v.AsTime(); ok {
		return versioning.Time(at.Add(time.Duration(n) * time.Second))
	}
	number, _ := v.Int64()
	return versioning.Number(number + int64(n)) // which refuses what has overflowed
}

// running is a race on its way.
type running struct {
	Race
	report  Report
	moments atomic.Int64 // counts what happens, so that it has an order
	written atomic.Bool  // the target may have the key
}

func (r *running) rounds(ctx context.Context) error {
	for n := range Rounds {
		versions := make([]versioning.Version, perRound)
		for i := range versions {
			versions[i], _ = after(r.First, n*perRound+i) // Run has looked at the last one
		}
		if err := r.round(ctx, n+1, versions); err != nil {
			return fmt.Errorf("round %d: %w", n+1, err)
		}
		r.report.Rounds = n + 1
	}
	return nil
}

// round has the writers meet, sends the late version, and looks at what came of it.
// versions rise.
func (r *running) round(ctx context.Context, n int, versions []versioning.Version) error {
	newest, late := versions[Writers], versions[Writers-1]
	versions[Writers-1] = newest
	answers := r.meet(ctx, versions[:Writers])
	taken := false
	for _, a := range answers {
		if err := a.unfit(); err != nil {
			return err
		}
		taken = taken || a.result.Class == connectors.OK
	}
	if !taken {
		last := answers[Writers-1].result
		return fmt.Errorf("the target took no version: of %s it said: %s: %w", newest, last.Class, last.Err)
	}
	found := judge(answers, r.ignores())
	if answers[Writers-1].result.Class == connectors.OK {
		more, err := r.look(ctx, newest, late)
		if err != nil {
			return err
		}
		found = append(found, more...)
	}
	for _, v := range found {
		v.Round = n
		r.report.Violations = append(r.report.Violations, v)
	}
	return nil
}

// ignores reports whether the target may say OK to an older version and ignore it: what
// it holds shows that.
func (r *running) ignores() bool { return r.Guard == connectors.GuardByFormat && r.Read != nil }

// meet has each writer write one of the versions, all at once, and returns their answers
// in the order of the versions.
func (r *running) meet(ctx context.Context, versions []versioning.Version) []answer {
	answers := make([]answer, Writers)
	var wg sync.WaitGroup
	start := make(chan struct{})
	for w, i := range rand.Perm(Writers) {
		a := r.Attempt(versions[i], events.Upsert)
		wg.Go(func() {
			<-start
			answers[i] = r.write(ctx, r.Writers[w], a, patience)
		})
	}
	close(start)
	wg.Wait()
	return answers
}

// look compares what the target holds after a round with the newest version, and has it
// refuse the late one.
func (r *running) look(ctx context.Context, newest, late versioning.Version) ([]Violation, error) {
	var found []Violation
	if r.Read != nil {
		held, err := r.Read(ctx)
		if err != nil {
			return nil, fmt.Errorf("read what the target holds: %w", err)
		}
		found = holds(held.Version, newest)
	}
	a := r.write(ctx, r.Writers[0], r.Attempt(late, events.Upsert), patience)
	if err := a.unfit(); err != nil {
		return nil, err
	}
	said := a.result.Held.Version
	switch {
	case len(found) > 0: // and the late version may be newer than what is held
	case a.result.Class == connectors.OK && r.ignores():
		held, err := r.Read(ctx)
		if err != nil {
			return nil, fmt.Errorf("read what the target holds: %w", err)
		}
		found = holds(held.Version, newest)
	case a.result.Class == connectors.OK:
		found = []Violation{{Rule: TookOlder, Version: late, Newer: newest}}
	case !said.IsZero():
		found = holds(said, newest)
	}
	return found, nil
}

// write makes an attempt, and repeats it for as long as the target has no time for it.
func (r *running) write(ctx context.Context, writer connectors.Sender, a connectors.Attempt, patience time.Duration) answer {
	out := answer{version: a.Version, begun: r.moments.Add(1)}
	end := time.Now().Add(patience)
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		out.result = r.attempt(ctx, writer, a)
		res := &out.result
		busy := res.Class == connectors.Transient || res.Class == connectors.Throttled
		if res.Class == connectors.OK || busy && !res.NobodyThere() {
			r.written.Store(true)
		}
		wait := max(pause, res.RetryAfter)
		if !busy || res.NobodyThere() || time.Now().Add(wait).After(end) || !sleep(ctx, wait) {
			break
		}
		a.Number++
	}
	out.ended = r.moments.Add(1)
	return out
}

func (r *running) attempt(ctx context.Context, writer connectors.Sender, a connectors.Attempt) connectors.Result {
	ctx, cancel := context.WithTimeout(ctx, r.Timeout)
	defer cancel()
	results := writer.Apply(ctx, []connectors.Attempt{a})
	if len(results) != 1 {
		return connectors.Failed(connectors.Permanent, "connector", fmt.Errorf("the connector gave %d results for one attempt", len(results)))
	}
	return results[0]
}

// sleep waits and reports whether ctx still runs.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// bury deletes the key, also when the race was interrupted.
func (r *running) bury(ctx context.Context, v versioning.Version, patient bool) {
	if !r.written.Load() {
		return
	}
	wait := patience
	if !patient { // the target fails, or somebody waits for the end
		wait = 0
	}
	a := r.write(context.WithoutCancel(ctx), r.Writers[0], r.Attempt(v, events.Delete), wait)
	if a.result.Class == connectors.OK {
		return
	}
	r.report.Left = fmt.Sprintf("its deletion failed: %s", a.result.Class)
	if a.result.Err != nil {
		r.report.Left += ": " + a.result.Err.Error()
	}
}
