package sim_test

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hms-utl/extsync/internal/faults"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/delivery/internal/sim"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// A span is a stretch of the history, counted from its start.
type span struct{ from, to time.Duration }

func (s span) has(at time.Duration) bool { return s.from <= at && at < s.to }

// A temper is how a target behaves. The zero value takes everything.
type temper struct {
	guarded bool    // it refuses what is older than it holds
	batch   int     // updates in one call, at most
	errors  float64 // share of attempts that fail by themselves
	refuses float64 // share of updates that it never takes
	slow    time.Duration
	// Times in which nobody gets through: because it is down, or will not have us.
	down, forbidden []span
	// objects: it gives each object an id, and knows it by that alone.
	objects bool
	// Keys that fail in a time of theirs.
	sick map[string]span
}

// A target is an external system in memory that remembers what it saw. Whatever it does to
// an attempt follows from seed, key, version and how often it was tried.
type target struct {
	temper
	seed  uint64
	start time.Time

	mu    sync.Mutex
	seen  map[string]int // attempts by key and version
	held  map[string]versioning.Tag
	calls []faults.Call
	wrote []faults.Write
	well  bool // it takes everything from now on
	store objects
}

func newTarget(seed uint64, t temper) *target {
	return &target{temper: t, seed: seed, start: time.Now(), seen: map[string]int{}, held: map[string]versioning.Tag{}}
}

func (tg *target) heal() {
	tg.mu.Lock()
	defer tg.mu.Unlock()
	tg.well = true
}

func (tg *target) objectsErr() error {
	tg.mu.Lock()
	defer tg.mu.Unlock()
	return tg.store.err()
}

// history returns what it saw of ordinary keys.
func (tg *target) history() faults.History {
	tg.mu.Lock()
	defer tg.mu.Unlock()
	h := faults.History{Held: maps.Clone(tg.held)}
	for _, c := range tg.calls {
		if strings.HasPrefix(c.Key, ordinary) {
			h.Calls = append(h.Calls, c)
		}
	}
	for _, w := range tg.wrote {
		if strings.HasPrefix(w.Key, ordinary) {
			h.Writes = append(h.Writes, w)
		}
	}
	return h
}

// A door is the target as one worker sees it.
type door struct {
	*target
	worker string
	link   *sim.Link
}

func (d *door) MaxBatch() int               { return max(1, d.batch) }
func (d *door) Close(context.Context) error { return nil }

// Apply is one call: it takes its time, and what came of each attempt.
func (d *door) Apply(ctx context.Context, attempts []connectors.Attempt) []connectors.Result {
	out := make([]connectors.Result, len(attempts))
	first := d.arrive(attempts)
	if !d.link.Pass("target", nil) {
		d.leave(first, len(attempts), "gone")
		<-ctx.Done() // nobody is there to hear of it
		return failAll(out, ctx.Err())
	}
	f := d.fateOf(attempts[0])
	time.Sleep(time.Duration(f.number(4) % uint64(d.slow+1)))
	if f.panics {
		d.leave(first, len(attempts), "panic")
		panic("the target is upset")
	}
	if f.hangs {
		<-ctx.Done()
	}
	if ctx.Err() != nil && f.number(5)%2 == 0 { // hung up before it was heard
		d.leave(first, len(attempts), "cut")
		return failAll(out, ctx.Err())
	}
	for i, a := range attempts {
		out[i] = d.apply(a)
	}
	d.leave(first, len(attempts), "")
	if ctx.Err() != nil {
		return failAll(out, ctx.Err())
	}
	return out
}

func failAll(out []connectors.Result, err error) []connectors.Result {
	for i := range out {
		out[i] = connectors.Failed(connectors.Transient, "timeout", err)
	}
	return out
}

func (tg *target) now() time.Duration { return time.Since(tg.start) }

func (d *door) arrive(attempts []connectors.Attempt) (first int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	first = len(d.calls)
	for _, a := range attempts {
		d.seen[a.Key+"@"+a.Version.String()]++
		d.calls = append(d.calls, faults.Call{Key: a.Key, Version: a.Version, Worker: d.worker, Attempt: a.Number, From: d.now(), To: time.Hour})
	}
	return first
}

func (d *door) leave(first, n int, answer string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := first; i < first+n; i++ {
		d.calls[i].To = d.now()
		if answer != "" {
			d.calls[i].Answer = answer
		}
	}
}

// A fate is what happens to an attempt.
type fate struct {
	hash          uint64
	panics, hangs bool
	errs, refused bool
}

// number returns the n-th number of a fate.
func (f fate) number(n int) uint64 {
	return (f.hash*0x9e3779b97f4a7c15 + uint64(n)*0xbf58476d1ce4e5b9) >> 17
} //nolint:gosec // small

func (tg *target) fateOf(a connectors.Attempt) fate {
	tg.mu.Lock()
	defer tg.mu.Unlock()
	id := a.Key + "@" + a.Version.String()
	f := fate{hash: sim.Hash(tg.seed, id+"/"+strconv.Itoa(tg.seen[id]))}
	if tg.well {
		return f
	}
	f.errs = sim.Share(f.number(1)<<17) < tg.errors
	f.panics = f.errs && f.number(2)%23 == 0
	f.hangs = f.errs && f.number(2)%11 == 1
	f.refused = sim.Share(sim.Hash(tg.seed, id)) < tg.refuses
	return f
}

var (
	errDown    = errors.New("the target is down")
	errRefused = errors.New("the target does not take this")
)

// apply decides about one attempt.
func (d *door) apply(a connectors.Attempt) connectors.Result {
	f := d.fateOf(a)
	d.mu.Lock()
	defer d.mu.Unlock()
	at := d.now()
	if !d.well {
		in := func(s span) bool { return s.has(at) }
		switch sick, is := d.sick[a.Key]; {
		case slices.ContainsFunc(d.down, in):
			return connectors.Failed(connectors.Transient, "503", errDown)
		case slices.ContainsFunc(d.forbidden, in):
			return connectors.Failed(connectors.Misconfigured, "403", errDown)
		case is && sick.has(at):
			return d.sickness(a.Key)
		case f.refused:
			return connectors.Failed(connectors.Permanent, "422", errRefused)
		case f.errs && f.number(3)%4 == 0:
			res := connectors.Failed(connectors.Throttled, "429", errDown)
			res.RetryAfter = time.Duration(f.number(6)%1000) * time.Millisecond
			return res
		case f.errs && f.number(3)%4 < 3:
			return connectors.Failed(connectors.Transient, "502", errDown)
		}
	}
	res := d.write(a)
	if f.errs { // it was done, and the answer is lost
		return connectors.Failed(connectors.Transient, "eof", errDown)
	}
	return res
}

// sickness is what a key answers that is sick: it is refused by itself, in one way or another.
func (d *door) sickness(key string) connectors.Result {
	n := sim.Hash(d.seed, key) >> 17
	class := []connectors.Class{connectors.Transient, connectors.Misconfigured, connectors.Throttled, connectors.Unready}[n%4]
	res := connectors.Failed(class, "sick", errRefused)
	res.RetryAfter = time.Duration(n%2000) * time.Millisecond
	return res
}

// write stores an attempt, as far as the guard lets it.
func (d *door) write(a connectors.Attempt) connectors.Result {
	held, tag := d.held[a.Key], versioning.Tag{Version: a.Version, Digest: a.Digest}
	if d.guarded && !held.IsZero() {
		order, _ := tag.Version.Compare(held.Version) // of one kind
		switch {
		case order < 0:
			return connectors.Result{Class: connectors.Stale, Code: "409", Held: held, Err: errRefused}
		case order == 0 && held.Digest != tag.Digest:
			return connectors.Result{Class: connectors.Conflict, Code: "409", Held: held, Err: errRefused}
		case order == 0 && !a.Again:
			res := connectors.Done()
			if id := d.store.ids[a.Key]; d.objects && id != "" { // what it answers shows the object
				res.Remember = connectors.Refs{idRef: id}
			}
			return res
		}
	}
	res := connectors.Done()
	if d.objects {
		res.Remember = d.store.write(&a)
	}
	d.held[a.Key] = tag
	d.wrote = append(d.wrote, faults.Write{Key: a.Key, Tag: tag, Op: a.Op, Worker: d.worker, Attempt: a.Number, At: d.now()})
	return res
}
