package jobs_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/hms-utl/extsync/internal/jobs"
	"github.com/hms-utl/extsync/internal/testkit"
)

// working runs jobs of an action whose work is given, and returns a job of it.
func (l *lab) working(work jobs.Work) jobs.Job {
	l.t.Helper()
	job, err := l.store.Create(l.t.Context(), jobs.Record{Job: jobs.Job{Action: jobs.Replay, Channel: "cal", Selection: jobs.Selection{Letters: &everyLetter}}})
	testkit.Must(l.t, err)
	l.background(func(ctx context.Context) error {
		(&jobs.Runner{Store: l.store, Logger: zerolog.Nop(), Lease: lease, Work: map[jobs.Action]jobs.Work{jobs.Replay: work}}).Run(ctx)
		return nil
	})
	return job
}

// However a broker says that it is away, the job is gone on with.
func TestAJobOutlivesAnOutage(t *testing.T) {
	l := newLab(t)
	outages := []error{nats.ErrNoResponders, jetstream.ErrNoStreamResponse, nats.ErrConnectionClosed, context.DeadlineExceeded}
	var runs atomic.Int64
	job := l.working(func(context.Context, *jobs.Run) error {
		if n := int(runs.Add(1)); n <= len(outages) {
			return fmt.Errorf("read: %w", outages[n-1])
		}
		return nil
	})
	if job = l.ended(job.ID); job.State != jobs.Done || len(job.Failures) > 0 {
		t.Errorf("%+v after %d runs", job, runs.Load())
	}
}

// Whoever stops waiting for a save still has the lease.
func TestACancelledSaveLosesNoLease(t *testing.T) {
	l := newLab(t)
	var runs atomic.Int64
	job := l.working(func(ctx context.Context, run *jobs.Run) error {
		runs.Add(1)
		cancelled, cancel := context.WithCancel(ctx)
		cancel()
		if err := run.Save(cancelled); err == nil || errors.Is(err, jobs.ErrLost) {
			return fmt.Errorf("a cancelled save: %w", err)
		}
		return run.Save(ctx)
	})
	if job = l.ended(job.ID); job.State != jobs.Done || runs.Load() != 1 {
		t.Errorf("%+v after %d runs", job, runs.Load())
	}
}

