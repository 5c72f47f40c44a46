package jobs_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/hms-utl/extsync/internal/jobs"
	"github.com/hms-utl/extsync/internal/operate"
	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/events"
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

func (l *lab) changed() jobs.Change {
	l.t.Helper()
	change, err := l.store.Changed(l.t.Context())
	testkit.Must(l.t, err)
	return change
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

// A job whose resync may be under way is not over when it is stopped: that resync is to end, too.
func TestStopWhileAResyncIsUnderWay(t *testing.T) {
	l := newLab(t)
	for _, rec := range []jobs.Record{{Before: "none"}, {Before: "none", Resync: "r1"}} {
		rec.Job = jobs.Job{Action: jobs.Resync, Channel: "cal", Selection: jobs.Selection{Entities: &jobs.Entities{Channel: "cal"}}}
		job, err := l.store.Create(t.Context(), rec)
		testkit.Must(t, err)
		before := l.changed()
		if l.changed() != before {
			t.Error("something has changed, although nobody did anything")
		}
		if job, err = l.store.Stop(t.Context(), job.ID); err != nil || job.State != jobs.Stopping {
			t.Errorf("%+v: %s, %v", rec, job.State, err)
		}
		if l.changed() == before {
			t.Error("nothing has changed, although a job was stopped")
		}
	}
}

// A runner that was killed before it began its resync began none, although it has noted the last
// one of the channel; and where another resync has followed the job's, that one was over.
func TestAResyncThatNeverBeganAndOneThatIsOver(t *testing.T) {
	l := newLab(t)
	pub, err := l.Publisher(t.Context())
	testkit.Must(t, err)
	_, ack, err := pub.Request(t.Context(), events.Update{Channel: "cal", Key: "k", Version: testkit.Number(1), Payload: []byte(`{}`)})
	if err != nil || ack.Outcome != events.Delivered {
		t.Fatalf("%+v, %v", ack, err)
	}
	l.runs()
	for _, rec := range []jobs.Record{{Before: "none"}, {Before: "none", Resync: "r1"}} {
		rec.Job = jobs.Job{Action: jobs.Resync, Channel: "cal", Total: 1, Selection: jobs.Selection{Entities: &jobs.Entities{Channel: "cal"}}}
		job, err := l.store.Create(t.Context(), rec)
		testkit.Must(t, err)
		if job = l.ended(job.ID); job.State != jobs.Done || len(job.Failures) > 0 || rec.Resync == "" && job.Out["delivered"] != 1 {
			t.Errorf("%+v: %+v", rec, job)
		}
	}
}

// Jobs that only wait hold no other job back.
func TestJobsThatWaitHoldNoSlots(t *testing.T) {
	l := newLab(t)
	l.letters(3, 0)
	_, err := l.Change(t.Context(), "cal", operate.Pause)
	testkit.Must(t, err)
	l.runs()
	for range 5 {
		job, err := l.StartJob(t.Context(), operate.JobRequest{Action: jobs.Replay, Letters: &everyLetter})
		testkit.Must(t, err)
		l.when(job.ID, "it to wait", func(j jobs.Job) bool { return j.Waits != "" })
	}
	job, err := l.StartJob(t.Context(), operate.JobRequest{Action: jobs.Discard, Letters: &everyLetter, Reason: "old"})
	testkit.Must(t, err)
	if job = l.ended(job.ID); job.State != jobs.Done || job.Out["discarded"] != 3 {
		t.Errorf("%+v", job)
	}
	_, err = l.Change(t.Context(), "cal", operate.Resume)
	testkit.Must(t, err)
	page, err := l.store.List(t.Context(), 10, "", nil)
	testkit.Must(t, err)
	for _, j := range page.Jobs {
		if j = l.ended(j.ID); j.State != jobs.Done {
			t.Errorf("%+v", j)
		}
	}
}

// A job has the keys that the list of the same filters has.
func TestAJobOnKeysHasTheKeysOfTheList(t *testing.T) {
	l := newLab(t)
	pub, err := l.Publisher(t.Context())
	testkit.Must(t, err)
	for _, key := range []string{"a1", "a2", "b1"} {
		_, ack, err := pub.Request(t.Context(), events.Update{Channel: "cal", Key: key, Version: testkit.Number(1), Payload: []byte(`{}`)})
		if err != nil || ack.Outcome != events.Delivered {
			t.Fatalf("%+v, %v", ack, err)
		}
	}
	var keys []string
	testkit.Eventually(t, "the list has the keys", func() bool {
		page, err := l.List(t.Context(), operate.ListQuery{Channel: "cal", Prefix: "a", OlderThan: time.Millisecond, Limit: 10})
		testkit.Must(t, err)
		keys = nil
		for i := range page.Entities {
			keys = append(keys, page.Entities[i].Key)
		}
		return len(keys) == 2
	})
	plan, err := l.PlanJob(t.Context(), operate.JobRequest{Action: jobs.Resync, Entities: &jobs.Entities{Channel: "cal", Prefix: "a", OlderThan: "1ms"}})
	if err != nil || plan.Total != len(keys) {
		t.Errorf("%+v, %v; the list has %v", plan, err, keys)
	}
}
