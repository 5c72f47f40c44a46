package jobs

import (
	"context"
	"errors"
	"os"
	"sync"
	"time"

	"github.com/nats-io/nuid"
	"github.com/rs/zerolog"

	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/internal/words"
)

const (
	// DefaultLease is for how long a record must not have changed until another runner takes
	// the job. Every runner measures that itself, with its own clock: no two clocks are
	// compared.
	DefaultLease = 10 * time.Second
	// lookEvery is how often a runner looks for jobs, beats how often in a lease it renews it.
	lookEvery = time.Second
	beats     = 5
	// atOnce is how many jobs a runner works on at once, mostRuns how many it has with those that
	// only wait.
	atOnce   = 4
	mostRuns = 64
)

// Work does the work of a job from where its record stands, and returns when nothing is left,
// when the run is Stopping, or with an error: one that says that the broker is away leaves the
// job to be taken again, any other ends it as failed. It saves before it does what must not be
// done twice unnoticed.
type Work func(ctx context.Context, run *Run) error

// A Runner runs jobs: it takes those that nobody has, and those whose runner has died.
type Runner struct {
	Store *Store
	Work  map[Action]Work
	// Ended records the end of a job, before it is stored. Nil: nothing.
	Ended  func(context.Context, Job) error
	Logger zerolog.Logger
	// Lease: zero is DefaultLease. All runners of an installation need the same.
	Lease time.Duration
	// Only, if not "", is the only job that is taken, after Patience, in which a server may
	// take it.
	Only     string
	Patience time.Duration

	slots   slots
	mu      sync.Mutex
	running map[string]bool
	missed  bool // a record was not as it was seen
}

// Has reports whether this runner has a job.
func (r *Runner) Has(id string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.running[id]
}

// A sighting is a job that others have, or nobody.
type sighting struct {
	stored
	first, changed time.Time // monotonic
}

// Run runs jobs until ctx ends. What is in hand then is finished or noted, and left to others.
func (r *Runner) Run(ctx context.Context) {
	if r.Lease == 0 {
		r.Lease = DefaultLease
	}
	r.mu.Lock()
	r.running, r.slots = map[string]bool{}, make(slots, atOnce)
	r.mu.Unlock()
	var runs sync.WaitGroup
	defer runs.Wait()
	seen := map[string]*sighting{}
	last := uint64(0)
	tick := time.NewTicker(min(lookEvery, r.Lease/beats))
	defer tick.Stop()
	for {
		if err := r.look(ctx, seen, &last); err != nil && ctx.Err() == nil {
			r.Logger.Warn().Err(err).Msg("look for jobs")
		}
		for _, s := range seen {
			r.consider(ctx, s, &runs)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// look notes which records have changed.
func (r *Runner) look(ctx context.Context, seen map[string]*sighting, last *uint64) error {
	stream, err := r.Store.js.Stream(ctx, wire.KVStream(wire.JobsBucket(r.Store.names)))
	if err != nil {
		return err
	}
	r.mu.Lock()
	missed := r.missed
	r.missed = false
	r.mu.Unlock()
	switch end := stream.CachedInfo().State.LastSeq; {
	case missed:
		*last = 0
	case end == *last:
		return nil
	case end < *last: // the broker has lost its end
		*last = 0
		clear(seen)
	}
	now := time.Now()
	for s, err := range r.Store.all(ctx, *last) {
		if err != nil {
			return err
		}
		*last = max(*last, s.revision)
		if r.Only != "" && s.ID != r.Only {
			continue
		}
		known := seen[s.ID]
		switch {
		case s.State.Over():
			delete(seen, s.ID)
		case known == nil:
			seen[s.ID] = &sighting{s, now, now}
		case known.revision != s.revision:
			known.stored, known.changed = s, now
		}
	}
	return nil
}

// consider takes a job if nobody has it.
func (r *Runner) consider(ctx context.Context, s *sighting, runs *sync.WaitGroup) {
	free := s.Holder == "" && time.Since(s.first) >= r.Patience || time.Since(s.changed) >= r.Lease
	r.mu.Lock()
	defer r.mu.Unlock()
	if !free || r.running[s.ID] || len(r.running) >= mostRuns || ctx.Err() != nil || r.Work[s.Action] == nil || !r.slots.try() {
		return
	}
	r.running[s.ID] = true
	rec, revision := s.clone(), s.revision
	runs.Go(func() {
		r.run(ctx, rec, revision)
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.running, rec.ID)
	})
}

// run takes the lease and does the work.
func (r *Runner) run(ctx context.Context, rec Record, revision uint64) {
	log := r.Logger.With().Str("job", rec.ID).Str("action", string(rec.Action)).Logger()
	before := rec.Runner
	rec.Holder, rec.Waits = nuid.Next(), ""
	rec.Runner, _ = os.Hostname() // "" where it has no name
	begun := time.Now()
	working, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	revision, err := r.Store.write(ctx, &rec, revision)
	if err != nil {
		r.slots.free()
		switch {
		case errors.Is(err, errChanged): // another one was faster, or the broker has lost what was seen
			r.mu.Lock()
			r.missed = true
			r.mu.Unlock()
		case ctx.Err() == nil:
			log.Warn().Err(err).Msg("take a job")
		}
		return
	}
	run := &Run{store: r.Store, lease: r.Lease, slots: r.slots, holder: rec.Holder, rec: rec, revision: revision, renewed: begun, began: begun, before: rec.Done, lost: cancel}
	defer run.leave()
	log.Info().Str("runner_before", before).Int("done", rec.Done).Int("total", rec.Total).Msg("job taken")
	err = r.check(ctx, &rec)
	if err == nil {
		var beat sync.WaitGroup
		beating, stop := context.WithCancel(working)
		beat.Go(func() { run.keep(beating, r.Lease/beats) })
		err = r.Work[rec.Action](working, run)
		stop()
		beat.Wait()
	}
	// The record is stored whether or not the process shall end.
	ending, done := context.WithTimeout(context.WithoutCancel(ctx), r.Lease/3)
	defer done()
	if cause := context.Cause(working); errors.Is(cause, ErrLost) || errors.Is(err, ErrLost) {
		log.Warn().AnErr("cause", cause).Msg("job lost to another runner")
		return
	}
	if err := r.finish(ending, run, ctx.Err() != nil, err); err != nil {
		log.Warn().Err(err).Msg("note how far a job is")
	}
	now := run.Record()
	log.Info().Str("state", string(now.State)).Int("done", now.Done).AnErr("cause", err).Msg("job left")
}

// errRestored ends a job of another incarnation.
var errRestored = errors.New("the broker's files were restored since the job began; start it again if it is still wanted")

// check fails for a job that is not to be gone on with.
func (r *Runner) check(ctx context.Context, rec *Record) error {
	now, err := wire.ReadIncarnation(ctx, r.Store.js, r.Store.names)
	if err == nil && now != rec.Incarnation {
		err = errRestored
	}
	return err
}

// finish stores how a run has ended.
func (r *Runner) finish(ctx context.Context, run *Run, leaving bool, err error) error {
	rec := run.Record()
	state := Done
	switch {
	case errors.Is(err, errRestored):
		state = Stopped
	case leaving && err != nil, wire.IsUnavailable(err):
		waits := ""
		if !leaving {
			waits = words.Of(err)
		}
		run.Change(func(rec *Record) { rec.Holder, rec.Waits = "", waits })
		return run.Save(ctx)
	case err != nil:
		state = Failed
	case rec.State == Stopping:
		state = Stopped
	}
	run.Change(func(rec *Record) {
		if err != nil && len(rec.Failures) < MaxFailures {
			rec.Failures = append(rec.Failures, words.Of(err))
		}
		if state == Done {
			if !rec.AtMost {
				rec.Count("gone", rec.Total-rec.Done, "")
			}
			rec.Total = rec.Done
		}
		run.pace(time.Now())
		rec.end(state)
	})
	if r.Ended != nil {
		if err := r.Ended(ctx, run.Record().Job); err != nil {
			r.Logger.Warn().Err(err).Str("job", rec.ID).Msg("record the end of a job")
		}
	}
	return run.Save(ctx)
}
