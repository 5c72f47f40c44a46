package delivery

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/rs/zerolog"

	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/delivery/internal/feed"
	"github.com/hms-utl/extsync/pkg/delivery/internal/lanes"
	"github.com/hms-utl/extsync/pkg/delivery/internal/ledger"
	"github.com/hms-utl/extsync/pkg/delivery/internal/letters"
	"github.com/hms-utl/extsync/pkg/delivery/internal/outlog"
	"github.com/hms-utl/extsync/pkg/delivery/internal/parking"
	"github.com/hms-utl/extsync/pkg/events"
)

// A tenure is all that a worker holds in memory about a partition between taking
// it over and giving it up: the parts, and the loops that work on them. Its lanes decide
// what is done; see desk.
type tenure struct {
	p     *partition
	b     *broker
	log   zerolog.Logger
	ctx   context.Context         //nolint:containedctx // the life of the tenure: calls outlive the functions that start them
	fail  context.CancelCauseFunc // ends ctx; the first cause counts
	since time.Time
	// takenOver says that it delivers.
	takenOver atomic.Bool
	route     events.Route // from where the channel reads
	stream    string

	outcomes *outlog.Log
	progress *outlog.Progress
	feed     *feed.Feed
	parked   *parking.Stream
	letters  *letters.Tidier
	view     *ledger.View
	replies  replier
	contents contents

	desk
	calls   caller
	commits committer
	flushes flusher
	parker  parker
	resyncs resyncer
	census  census
	quotas  quotas
}

// newTenure returns a tenure that has not taken over yet. Its attempt, from 1, counts
// those under the lease: with the epoch it is never used twice.
func newTenure(ctx context.Context, p *partition, fail context.CancelCauseFunc, attempt uint64) *tenure {
	r := p.r
	cfg := &r.entry.Config
	t := &tenure{p: p, b: r.b, log: p.log, ctx: ctx, fail: fail, since: time.Now(), route: cfg.Route(), stream: wire.UpdateStream(r.b.names, cfg.Route())}
	t.outcomes = outlog.New(outlog.Options{
		JS: r.b.js, Stream: r.b.outcomes, Names: r.b.names, Channel: cfg.Name, ID: r.entry.ID, Partition: p.index, Incarnation: r.b.incarnation,
		Content: r.entry.Content, Worker: r.worker, Epoch: p.lease.Epoch(), Attempt: attempt, Seen: &r.b.logSeen, Logger: p.log,
	})
	t.progress = outlog.NewProgress(outlog.ProgressOptions{
		Store: r.b.progress, Channel: cfg.Name, Generation: r.entry.Generation, Partition: p.index, Worker: r.worker, Epoch: p.lease.Epoch(),
	})
	t.feed = feed.New(feed.Options{
		JS: r.b.js, Names: r.b.names, Route: t.route, Partition: p.index, Partitions: cfg.Partitions, Queue: !t.latest(), MaxAckPending: cfg.Window + 2*unackedMost,
		Prefix: t.consumers(attempt), Cursor: cursor{t},
		Feeds: func() int { return int(r.b.tenures.Load()) }, HiddenCheck: r.hiddenCheck, Older: t.older, Logger: p.log,
	}, t)
	t.parked = parking.New(parking.Options{
		JS: r.b.js, Stream: r.b.parked, Names: r.b.names, Channel: cfg.Name, ID: r.entry.ID, Partition: p.index, Partitions: cfg.Partitions, Logger: p.log,
	})
	t.letters = letters.New(letters.Options{
		JS: r.b.js, Names: r.b.names, Store: r.b.letters, Channel: cfg.Name, Letters: wire.PartitionDead(r.b.names, cfg.Name, p.index, cfg.Partitions),
		Record: t.recordOf, Logger: p.log,
	})
	t.share = r.budget.Share()
	t.view = ledger.New(ledger.Options{
		JS: r.b.js, Names: r.b.names, Ledger: r.b.ledger, Channel: cfg.Name, ID: r.entry.ID, Shared: &r.b.views,
		Share: int64(cfg.Share(cfg.Quota.Ledger)), Content: r.entry.Content, Records: wire.PartitionRecords(r.b.names, cfg.Name, p.index, cfg.Partitions),
		LogEnd: t.outcomes.End, Broken: fail,
	})
	t.replies = replier{
		js: r.b.js, names: r.b.names, channel: cfg.Name, topic: t.route.Topic(), stream: t.stream, incarnation: r.b.incarnation, rooms: &r.b.replies,
	}
	t.contents = contents{stream: t.parked, kept: &r.b.kept}
	t.lanes = lanes.New(lanes.Options{
		Latest: t.latest(), Window: cfg.Window, Calls: r.callLimit(), Retry: cfg.Retry, ParkAfter: r.parkAfter, Incarnation: r.b.incarnation,
		Remembers: r.remembers, Removes: cfg.OnUnmatch == channels.DeleteUnmatched, Content: r.entry.Content, Names: r.b.names, AfterOutage: p.afterOutage, NewBackoff: newBackoff(&cfg.Retry), Now: time.Now,
	})
	t.wakePull, t.wakeRefresh = make(chan struct{}, 1), make(chan struct{}, 1)
	t.calls = caller{t: t, wake: make(chan struct{}, 1)}
	t.commits = committer{t: t, wake: make(chan struct{}, 1)}
	t.flushes = flusher{t: t}
	t.parker = parker{t: t, wake: make(chan struct{}, 1), untidy: make(chan struct{}, 1)}
	t.resyncs = resyncer{t: t, wake: make(chan struct{}, 1), room: make(chan struct{}, 1)}
	t.census.t = t
	t.quotas.begin(t)
	return t
}

// consumers returns how the names of the tenure's consumers begin. Other channels may read
// the same topic.
func (t *tenure) consumers(attempt uint64) string {
	name := fmt.Sprintf("g%d-p%d-e%d-%d", t.p.r.entry.Generation, t.p.index, t.p.lease.Epoch(), attempt)
	if t.route.Topic() != "" {
		return t.p.r.entry.Config.Name + "-" + name
	}
	return name
}

// newBackoff returns what makes the waits of a failing key.
func newBackoff(retry *channels.Retry) func() lanes.Backoff {
	return func() lanes.Backoff {
		return backoff.NewExponentialBackOff(
			backoff.WithInitialInterval(retry.InitialBackoff.D()),
			backoff.WithMaxInterval(retry.MaxBackoff.D()),
			backoff.WithMultiplier(2),
			backoff.WithMaxElapsedTime(0), // attempts decide, not time
		)
	}
}

// latest reports whether only the newest version of a key counts.
func (t *tenure) latest() bool { return t.p.r.entry.Config.Mode == channels.Latest }

// signal wakes a loop that waits on ch; a signal that is already there is
// enough.
func signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// awaitIdle waits until no call is in flight and nothing waits to be committed. Calls
// that take longer than most are given up with the partition.
func (t *tenure) awaitIdle(ctx context.Context, most time.Duration) {
	if !t.becomesIdle(ctx, most) && ctx.Err() == nil {
		t.log.Warn().Msg("calls are still in flight after the drain timeout: giving the partition up without them")
		t.fail(errShuttingDown)
	}
}

// handOver leaves the partition to the next owner: the ledger is complete, the
// floor is written, the broker has every ack.
func (t *tenure) handOver(ctx context.Context) error {
	t.stopAlarm()
	waitFor(&t.calls.under, hungAfter) // removals from the parked stream
	if err := t.flushes.last(ctx); err != nil {
		return err
	}
	t.flushes.ackLast(ctx)
	if err := t.feed.Delete(ctx); err != nil {
		return err
	}
	t.abandon()
	t.log.Info().Uint64("floor", t.progress.Now().Floor).Msg("partition handed over")
	return nil
}

// abandon lets go of what is held; the broker has it.
func (t *tenure) abandon() {
	t.stopAlarm()
	t.begin()
	defer t.end()
	t.lanes.Held(func(it *lanes.Item) { t.b.kept.Add(-int64(it.Rim.Kept)) }) // a call that hangs may still read it
	t.lanes.Abandon()
}
