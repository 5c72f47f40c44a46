package delivery

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/delivery/internal/feed"
	"github.com/hms-utl/extsync/pkg/delivery/internal/lease"
	"github.com/hms-utl/extsync/pkg/delivery/internal/outlog"

	"github.com/cenkalti/backoff/v4"
	"github.com/rs/zerolog"
	"golang.org/x/time/rate"
)

// errShuttingDown ends what works under a worker that ends.
var errShuttingDown = errors.New("the worker is shutting down")

// A partition is a fixed share of a channel's keys, worked on by this worker as
// long as it has the lease of its shard.
type partition struct {
	r     *channelRun
	index int
	lease *lease.Lease
	rate  *rate.Limiter // nil: no limit
	log   zerolog.Logger
	sight sight

	// restored: the broker's files are older than they were, and the next consumer begins
	// at 0. Used by run only.
	restored bool

	// afterOutage: what is held was read again because the target is back.
	afterOutage bool

	drainOnce sync.Once
	drain     chan struct{} // closed when the partition shall finish
}

func newPartition(r *channelRun, index int, le *lease.Lease) *partition {
	return &partition{
		r: r, index: index, lease: le, rate: r.newLimiter(), drain: make(chan struct{}),
		log:   r.log.With().Int("partition", index).Uint64("epoch", le.Epoch()).Logger(),
		sight: sight{progress: time.Now()},
	}
}

// owns reports whether an encoded key is of the partition.
func (p *partition) owns(key string) bool {
	return wire.Partition(key, p.r.entry.Config.Partitions) == p.index
}

// requestDrain asks run to finish what is in flight and return.
func (p *partition) requestDrain() { p.drainOnce.Do(func() { close(p.drain) }) }

func (p *partition) drainRequested() bool {
	select {
	case <-p.drain:
		return true
	default:
		return false
	}
}

// run works on the partition until it is drained or the lease ends. What goes
// wrong in between (the broker away, the consumer lost) starts it again from
// what the broker has, more slowly each time.
func (p *partition) run() {
	wait := backoff.NewExponentialBackOff(backoff.WithInitialInterval(100*time.Millisecond),
		backoff.WithMaxInterval(5*time.Second), backoff.WithMaxElapsedTime(0))
	// What a connector asks of others may outlive this process: it says until when it may be
	// begun, and for which partition, so that the target can refuse what a former owner asks.
	ctx := connectors.WithBeginBy(connectors.WithPartition(p.lease.Context(), p.index), p.lease.Until)
	for p.lease.Context().Err() == nil && !p.drainRequested() {
		started := time.Now()
		err := p.hold(ctx, p.lease.Turn())
		p.afterOutage = errors.Is(err, errRefresh)
		if err == nil {
			if p.r.entry.Gated { // until the gate is lifted there is nothing to do
				p.await()
			}
			return
		}
		if errors.Is(err, errRefresh) {
			p.log.Info().Msg("target is back: " + err.Error())
			continue
		}
		if cause := context.Cause(p.lease.Context()); cause != nil {
			p.log.Info().Err(cause).Msg("partition stopped")
			return
		}
		if errors.Is(err, feed.ErrOlder) {
			p.restored = true
		}
		if time.Since(started) > time.Minute {
			wait.Reset()
		}
		p.sight.troubled(err)
		p.log.Warn().Err(err).Msg("partition starts again")
		select {
		case <-p.lease.Context().Done():
		case <-p.drain:
		case <-time.After(wait.NextBackOff()):
		}
	}
}

// await returns when the partition shall be given up.
func (p *partition) await() {
	select {
	case <-p.drain:
	case <-p.lease.Context().Done():
	}
}

// hold is one tenure, a stretch of work on the partition: take over, deliver, and hand
// over when asked to. It returns nil after a hand-over.
func (p *partition) hold(until context.Context, attempt uint64) error {
	ctx, fail := context.WithCancelCause(until)
	defer fail(errShuttingDown)
	t := newTenure(ctx, p, fail, attempt)
	defer p.r.stats.enter(t)()
	defer p.sight.enter(t)()
	defer t.view.Close()
	t.b.tenures.Add(1)
	defer t.b.tenures.Add(-1)
	if err := t.takeOver(ctx); err != nil {
		if errors.Is(err, outlog.ErrGenerationClosed) {
			p.await() // until the registry tells of the new one
			return nil
		}
		return err
	}
	if p.r.entry.Gated {
		if t.progress.Now().Clean {
			return nil
		}
		return t.handOver(ctx)
	}
	stopListening, err := control{t}.listen()
	if err != nil {
		return err
	}
	defer stopListening()
	p.r.stats.add(p.r.entry.Config.Name, func(s *ChannelStats) { s.Takeovers++ })
	t.takenOver.Store(true)
	var wg sync.WaitGroup
	pull, stopPull := context.WithCancel(ctx)
	defer stopPull()
	wg.Go(func() {
		if err := t.feed.Run(pull); err != nil {
			t.fail(err)
		}
	})
	wg.Go(func() { t.calls.run(pull) })
	wg.Go(func() { t.resyncs.run(pull) })
	work, stopWork := context.WithCancel(ctx)
	defer stopWork()
	wg.Go(func() { t.commits.run(work) })
	wg.Go(func() { t.flushes.run(work) })
	wg.Go(func() { t.parker.run(work) })
	wg.Go(func() { t.parker.tidy(work) })
	wg.Go(func() { t.letters.Run(work) })
	wg.Go(func() { t.listKnown(work) })
	wg.Go(func() { t.census.run(work) })

	t.awaitEnd(ctx)
	stopPull()
	t.awaitIdle(ctx, p.r.drainLimit)
	drained := ctx.Err() == nil
	stopPull()
	stopWork()
	wg.Wait()
	if !drained {
		if !waitFor(&t.calls.under, hungAfter) {
			t.calls.sayHung()
		}
		t.abandon()
		return context.Cause(ctx)
	}
	if err := t.handOver(ctx); err != nil || p.drainRequested() || !t.refreshing() {
		return err
	}
	return errRefresh
}

// refreshPatience is how long what is to be read again after an outage waits for calls
// that are still in flight. No other begins meanwhile.
const refreshPatience = time.Second

// errRefresh ends a tenure, after a hand-over to the next one of the same worker.
var errRefresh = errors.New("what was held during the outage is read again")

// awaitEnd returns when the tenure shall end: the partition is to be given up, what is
// held is to be read again, or ctx has ended.
func (t *tenure) awaitEnd(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.p.drain:
			return
		case <-t.wakeRefresh:
			if t.becomesIdle(ctx, refreshPatience) {
				return
			}
			t.goOn() // a call hangs since the outage
		}
	}
}

// goOn lets every lane go on with what is held, which will not be read again.
func (t *tenure) goOn() {
	t.begin()
	defer t.end()
	t.lanes.GoOn()
}

// refreshing reports whether what was held is to be read again.
func (t *tenure) refreshing() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.lanes.Refreshing()
}

// hungAfter is how long after the end of its context a call may take to return.
const hungAfter = 2 * time.Second

// waitFor waits for wg, but no longer than most, and reports whether it is done.
func waitFor(wg *sync.WaitGroup, most time.Duration) bool {
	done := make(chan struct{})
	go func() {
		wg.Wait()
		close(done)
	}()
	select {
	case <-done:
		return true
	case <-time.After(most):
		return false
	}
}
