package delivery

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/hms-utl/extsync/internal/sleep"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/delivery/internal/feed"
	"github.com/hms-utl/extsync/pkg/delivery/internal/flow"
	"github.com/hms-utl/extsync/pkg/delivery/internal/ledger"
	"github.com/hms-utl/extsync/pkg/delivery/internal/letters"
	"github.com/hms-utl/extsync/pkg/delivery/internal/outlog"
	"github.com/hms-utl/extsync/pkg/delivery/internal/parking"
	"github.com/hms-utl/extsync/pkg/events"
)

// A tenure is all that a worker holds in memory about a partition between taking
// it over and giving it up. mu guards lanes, floor and the queues; nothing that waits
// for the broker or a target is done under it.
type tenure struct {
	p     *partition
	b     *broker
	log   zerolog.Logger
	ctx   context.Context         //nolint:containedctx // the life of the tenure: calls outlive the functions that start them
	fail  context.CancelCauseFunc // ends ctx; the first cause counts
	since time.Time
	// takenOver says that it delivers.
	takenOver atomic.Bool
	attempt   uint64 // its number under the lease, from 1: with the epoch never used twice

	stream   string
	outcomes *outlog.Log
	progress *outlog.Progress
	feed     *feed.Feed
	parked   *parking.Stream
	letters  *letters.Tidier

	mu       sync.Mutex
	lanes    map[string]*lane // by encoded key
	ready    []*lane          // that could be attempted now, first come first
	readyLow []*lane          // the same, when nothing is in ready: of a resync
	resync   *resync          // the one under way, if any
	dropped  []*resync        // those that were stopped with updates in flight
	// refreshing says that no more calls begin: what is held is given back.
	refreshing bool
	held       map[place]*item
	unacked    map[uint64]string // of settled messages of a work queue: reply subjects by sequence
	received   int               // messages of the consumer
	inHand     int               // updates in held whose message is not let go of
	inFlight   int               // calls
	moving     int               // lanes on their way to or from the parked stream
	toPark     []*lane           // of these, those that parkLoop has not begun with
	crowded    bool              // failing keys fill half the window, as was
	counted    time.Time         // then
	idle       chan struct{}     // closed when awaitIdle's condition holds
	floor      flow.Floor
	share      *flow.Share
	view       *ledger.View

	// atTarget counts calls of the connector.
	atTarget atomic.Int64

	wakePull     chan struct{} // there is room in the window
	wakeDispatch chan struct{}
	calls        sync.WaitGroup

	// Memory for the next group: its commits and its entries. Used by commitLoop only.
	taken   []commit
	entries []events.Entry
	// ackedSeq, under mu: up to where outcomes are in the view and their acks
	// sent.
	ackedSeq    uint64
	pending     []commit
	unsettled   int // commits that were queued and have not been settled yet
	wakeCommit  chan struct{}
	wakeResync  chan struct{}
	wakeRefresh chan struct{}
	wakePark    chan struct{}
	lastMsg     jetstream.Msg // settled last; for the final double ack
}

func newTenure(ctx context.Context, p *partition, fail context.CancelCauseFunc, attempt uint64) *tenure {
	r := p.r
	name := r.entry.Config.Name
	t := &tenure{
		p: p, b: r.b, log: p.log, ctx: ctx, fail: fail, attempt: attempt, since: time.Now(),
		stream:       r.b.names.UpdateStream(name),
		lanes:        map[string]*lane{},
		held:         map[place]*item{},
		unacked:      map[uint64]string{},
		wakePull:     make(chan struct{}, 1),
		wakeDispatch: make(chan struct{}, 1),
		wakeCommit:   make(chan struct{}, 1),
		wakeResync:   make(chan struct{}, 1),
		wakeRefresh:  make(chan struct{}, 1),
		wakePark:     make(chan struct{}, 1),
	}
	t.outcomes = outlog.New(outlog.Options{
		JS: r.b.js, Stream: r.b.outcomes, Names: r.b.names, Channel: name, ID: r.entry.ID, Partition: p.index, Incarnation: r.b.incarnation,
		Worker: r.worker, Epoch: p.lease.Epoch(), Attempt: attempt, Seen: &r.b.logSeen, Logger: p.log,
	})
	t.progress = outlog.NewProgress(outlog.ProgressOptions{
		Store: r.b.progress, Channel: name, Generation: r.entry.Generation, Partition: p.index, Worker: r.worker, Epoch: p.lease.Epoch(),
	})
	cfg := r.entry.Config
	t.feed = feed.New(feed.Options{
		JS: r.b.js, Names: r.b.names, Channel: name, Partition: p.index, Partitions: cfg.Partitions, Queue: !t.latest(), MaxAckPending: cfg.Window + unackedMost,
		Prefix: fmt.Sprintf("g%d-p%d-e%d-%d", r.entry.Generation, p.index, p.lease.Epoch(), attempt), Cursor: cursor{t},
		Feeds: func() int { return int(r.b.tenures.Load()) }, HiddenCheck: r.hiddenCheck, Older: t.older, Logger: p.log,
	}, t)
	t.parked = parking.New(parking.Options{
		JS: r.b.js, Stream: r.b.parked, Names: r.b.names, Channel: name, ID: r.entry.ID, Partition: p.index, Partitions: cfg.Partitions, Logger: p.log,
	})
	t.letters = letters.New(letters.Options{
		JS: r.b.js, Names: r.b.names, Store: r.b.letters, Channel: name, Owns: p.owns, Record: t.recordOf, Logger: p.log,
	})
	t.share = r.budget.Share()
	t.view = ledger.New(ledger.Options{
		JS: r.b.js, Names: r.b.names, Ledger: r.b.ledger, Channel: name, ID: r.entry.ID, Shared: &r.b.views,
		LogEnd: t.outcomes.End, Broken: fail,
	})
	return t
}

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

// becomesIdle waits until no call is in flight and nothing waits to be committed, for
// some time at most, and reports whether that was so.
func (t *tenure) becomesIdle(ctx context.Context, most time.Duration) bool {
	t.mu.Lock()
	idle := make(chan struct{})
	t.idle = idle
	t.checkIdle()
	t.mu.Unlock()
	timer := time.NewTimer(most)
	defer timer.Stop()
	select {
	case <-idle:
		return true
	case <-timer.C:
	case <-ctx.Done():
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.idle = nil
	return false
}

// checkIdle tells awaitIdle. The caller holds mu.
func (t *tenure) checkIdle() {
	if t.idle != nil && t.inFlight == 0 && t.moving == 0 && t.unsettled == 0 {
		close(t.idle)
		t.idle = nil
	}
}

// handOver leaves the partition to the next owner: the ledger is complete, the
// floor is written, the broker has every ack.
func (t *tenure) handOver(ctx context.Context) error {
	t.stopTimers()
	waitFor(&t.calls, hungAfter) // removals from the parked stream
	if err := t.flushLast(ctx); err != nil {
		return err
	}
	// Plain acks sent just before a deletion are mostly lost. This one is
	// answered after they were handled.
	if t.lastMsg != nil && !t.latest() {
		if err := t.lastMsg.DoubleAck(ctx); err != nil {
			t.log.Debug().Err(err).Msg("final ack; the next owner settles again by the ledger")
		}
	}
	if err := t.feed.Delete(ctx); err != nil {
		return err
	}
	t.abandon()
	t.log.Info().Uint64("floor", t.progress.Now().Floor).Msg("partition handed over")
	return nil
}

// flushLast completes the ledger and marks the progress as clean. A record that
// somebody else touched, or an answer that got lost, must not leave the ledger
// behind until another worker comes: it is tried again.
func (t *tenure) flushLast(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, t.p.r.drainLimit)
	defer cancel()
	for {
		_, err := t.flush(ctx, true)
		if err == nil || errors.Is(err, channels.ErrProgressChanged) {
			return err
		}
		t.log.Warn().Err(err).Msg("write the ledger before the hand-over")
		if !sleep.For(ctx, flushPause) {
			return err
		}
	}
}

// abandon lets go of what is held; the broker has it.
func (t *tenure) abandon() {
	t.stopTimers()
	t.mu.Lock()
	defer t.mu.Unlock()
	for at, it := range t.held {
		t.share.Give(it.size)
		t.b.kept.Add(-int64(it.kept)) // a call that hangs may still read it
		delete(t.held, at)
	}
	for _, rs := range append(t.dropped, t.resync) {
		if rs == nil {
			continue
		}
		for seq, it := range rs.out {
			t.share.Give(it.size)
			delete(rs.out, seq)
		}
	}
}

func (t *tenure) stopTimers() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, l := range t.lanes {
		l.stopTimer()
	}
}
