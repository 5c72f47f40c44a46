package guardrace_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/guardrace"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// How a shelf takes a version. The zero way is as it should be.
const (
	anything     = "takes anything"
	checkThenAct = "checks, then acts"
	ignoring     = "says OK to what it ignores"
	notNewest    = "refuses what is much newer"
	wrongHeld    = "refuses for what is older"
	broken       = "fails for good"
	away         = "is not there"
	busy         = "has no time at first"
	filtered     = "is behind a filter"
	stuck        = "does not answer"
)

// A shelf is a target that keeps one key.
type shelf struct {
	way string

	mu      sync.Mutex
	changed chan struct{} // closed when held changes
	held    connectors.Held
	applied int
}

func newShelf(way string) *shelf { return &shelf{way: way, changed: make(chan struct{})} }

// MaxBatch and Close make a Sender of the shelf.
func (*shelf) MaxBatch() int               { return 1 }
func (*shelf) Close(context.Context) error { return nil }

func (s *shelf) Apply(ctx context.Context, attempts []connectors.Attempt) []connectors.Result {
	return []connectors.Result{s.one(ctx, attempts[0])}
}

func (s *shelf) one(ctx context.Context, a connectors.Attempt) connectors.Result {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.applied++
	stale := connectors.Result{Class: connectors.Stale, Code: "stale", Err: errors.New("older"), Held: s.held.Tag}
	older := order(a.Version, s.held.Version) < 0
	number, _ := a.Version.Int64()
	switch {
	case s.way == broken:
		return connectors.Failed(connectors.Permanent, "422", errors.New("there is no column v"))
	case s.way == away:
		return connectors.Failed(connectors.Transient, connectors.CodeRefused, errors.New("nobody listens"))
	case s.way == filtered:
		return connectors.Result{Class: connectors.OK, Code: events.CodeFiltered}
	case s.way == busy && a.Number < 3:
		return connectors.Failed(connectors.Transient, "locked", errors.New("locked"))
	case s.way == stuck && number > 50 && a.Op == events.Upsert:
		s.mu.Unlock()
		<-ctx.Done()
		s.mu.Lock()
		return connectors.Failed(connectors.Transient, "canceled", ctx.Err())
	case s.way == notNewest && number == 18:
		return stale
	case s.way == wrongHeld && number == 18:
		stale.Held.Version = versioning.Must(versioning.Number(2))
		return stale
	case s.way == ignoring && older:
		return connectors.Done()
	case s.way == checkThenAct && !older:
		s.awaitNewer(a.Version)
	case s.way != anything && older:
		return stale
	}
	s.held = connectors.Held{Tag: versioning.Tag{Version: a.Version}, Op: a.Op}
	close(s.changed)
	s.changed = make(chan struct{})
	return connectors.Done()
}

// awaitNewer is the barrier between check and act: it waits for a newer version to be
// written, which the newest never is.
func (s *shelf) awaitNewer(v versioning.Version) {
	enough := time.NewTimer(5 * time.Millisecond)
	defer enough.Stop()
	for order(v, s.held.Version) >= 0 {
		changed := s.changed
		s.mu.Unlock()
		select {
		case <-changed:
		case <-enough.C:
			s.mu.Lock()
			return
		}
		s.mu.Lock()
	}
}

func order(v, w versioning.Version) int {
	if w.IsZero() {
		return 1
	}
	o, err := v.Compare(w)
	if err != nil {
		panic(err)
	}
	return o
}

func (s *shelf) race(guard connectors.Guard, first versioning.Version, readable bool) guardrace.Race {
	r := guardrace.Race{
		Guard: guard, First: first, Timeout: time.Minute,
		Attempt: func(v versioning.Version, op events.Op) connectors.Attempt {
			return connectors.Attempt{Update: events.Update{Channel: "c", Key: "k", Version: v, Op: op}, Number: 1}
		},
	}
	for i := range r.Writers {
		r.Writers[i] = s
	}
	if readable {
		r.Read = func(context.Context) (connectors.Held, error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			return s.held, nil
		}
	}
	return r
}

func one() versioning.Version { return versioning.Must(versioning.Number(1)) }

// A guard that holds is not accused, whether the target can be read or not, and the race
// leaves a tombstone that is newer than all it wrote.
func TestGuardThatHolds(t *testing.T) {
	at := versioning.Must(versioning.Time(time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)))
	for name, tt := range map[string]struct {
		way      string
		guard    connectors.Guard
		first    versioning.Version
		readable bool
	}{
		"atomic":                {"", connectors.GuardAtomic, one(), true},
		"not readable":          {"", connectors.GuardByFormat, one(), false},
		"times":                 {"", connectors.GuardConditional, at, true},
		"busy":                  {busy, connectors.GuardAtomic, one(), true},
		"ignores what is older": {ignoring, connectors.GuardByFormat, one(), true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newShelf(tt.way)
			report, err := s.race(tt.guard, tt.first, tt.readable).Run(t.Context())
			if err != nil || len(report.Violations) > 0 || report.Rounds != guardrace.Rounds || report.Left != "" {
				t.Fatalf("%+v, %v", report, err)
			}
			if tt.way != busy && s.applied != guardrace.Writes {
				t.Errorf("%d writes, want %d", s.applied, guardrace.Writes)
			}
			if s.held.Op != events.Delete || order(s.held.Version, tt.first) <= 0 {
				t.Errorf("it holds %+v at the end", s.held)
			}
		})
	}
}

// A guard that does not hold is found, with the versions.
func TestGuardThatDoesNotHold(t *testing.T) {
	for name, tt := range map[string]struct {
		way      string
		guard    connectors.Guard
		readable bool
		rule     guardrace.Rule
		says     string
	}{
		"check then act":               {checkThenAct, connectors.GuardConditional, true, guardrace.HoldsOlder, "holds the older version"},
		"check then act, not readable": {checkThenAct, connectors.GuardByFormat, false, guardrace.TookOlder, "took an older version after a newer one: "},
		"takes anything":               {anything, connectors.GuardByFormat, false, guardrace.TookOlder, "took an older version after a newer one: "},
		"takes anything, readable":     {anything, connectors.GuardByFormat, true, guardrace.HoldsOlder, "after it took the newer "},
		"says OK to what it ignores":   {ignoring, connectors.GuardAtomic, true, guardrace.TookOlder, "took an older version after a newer one: "},
		"refuses the newest":           {notNewest, connectors.GuardAtomic, true, guardrace.RefusedNewest, "refused version 18, the newest of all"},
		"refuses for what is older":    {wrongHeld, connectors.GuardAtomic, true, guardrace.RefusedForOlder, "refused version 18 because it holds 2"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			report, err := newShelf(tt.way).race(tt.guard, one(), tt.readable).Run(t.Context())
			i := slices.IndexFunc(report.Violations, func(v guardrace.Violation) bool {
				return v.Rule == tt.rule && strings.Contains(v.String(), tt.says)
			})
			if err != nil || i < 0 || report.Rounds != guardrace.Rounds {
				t.Errorf("%+v, %v", report, err)
			}
		})
	}
}

// What is not a matter of versions ends the race with what the target said.
func TestRaceThatCannotBeRun(t *testing.T) {
	for way, want := range map[string]string{
		broken: "there is no column v", away: "nobody listens", filtered: "the filter keeps version",
	} {
		s := newShelf(way)
		report, err := s.race(connectors.GuardAtomic, one(), true).Run(t.Context())
		if !errors.Is(err, guardrace.ErrNoRace) || !strings.Contains(err.Error(), "round 1: ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", way, err)
		}
		if way != filtered && (s.applied != guardrace.Writers || report.Left != "") {
			t.Errorf("%s: it was asked %d times, %+v", way, s.applied, report)
		}
	}
	s := newShelf("")
	s.held.Version = versioning.Must(versioning.Number(1000))
	if _, err := s.race(connectors.GuardAtomic, one(), true).Run(t.Context()); !errors.Is(err, guardrace.ErrNoRace) || !strings.Contains(err.Error(), "took no version") {
		t.Errorf("the key is newer: %v", err)
	}
	huge := versioning.Must(versioning.Number(1<<63 - 2))
	if _, err := s.race(connectors.GuardAtomic, huge, true).Run(t.Context()); !errors.Is(err, guardrace.ErrNoRace) || !strings.Contains(err.Error(), "too large") {
		t.Errorf("no room for versions: %v", err)
	}
	for guard, races := range map[connectors.Guard]bool{
		connectors.GuardAtomic: true, connectors.GuardConditional: true, connectors.GuardByFormat: true,
		connectors.GuardLedger: false, connectors.GuardNone: false, "": false,
	} {
		if err := guardrace.Check(guard); (err == nil) != races || err != nil && !errors.Is(err, guardrace.ErrNothingToRace) {
			t.Errorf("guard %q: %v", guard, err)
		}
	}
}

// An interrupted race deletes its key all the same.
func TestInterruptedRaceDeletesItsKey(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	s := newShelf(stuck)
	race := s.race(connectors.GuardAtomic, one(), true)
	attempt := race.Attempt
	race.Attempt = func(v versioning.Version, op events.Op) connectors.Attempt {
		if n, _ := v.Int64(); n > 50 && op == events.Upsert {
			cancel()
		}
		return attempt(v, op)
	}
	report, err := race.Run(ctx)
	if !errors.Is(err, context.Canceled) || errors.Is(err, guardrace.ErrNoRace) || report.Left != "" || s.held.Op != events.Delete {
		t.Errorf("%+v, %v; it holds %+v", report, err, s.held)
	}
}
