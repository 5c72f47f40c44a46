package delivery

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nuid"
	"github.com/rs/zerolog"

	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/delivery/internal/flow"
	"github.com/hms-utl/extsync/pkg/delivery/internal/lease"
	"github.com/hms-utl/extsync/pkg/workers"
)

const (
	// registryReread is how often the registry is read although nothing said it
	// had changed: a watch can be silent after a broker restart.
	registryReread = time.Minute
	// openRetry is after how long a connector that could not be opened is tried
	// again.
	openRetry = 5 * time.Second
)

// The manager decides what this worker works on: it announces the worker, leases
// its share of the shards, and starts and drains channels and partitions to
// match. All of its state belongs to the goroutine of run; what others have to
// say comes as a function through post.
type manager struct {
	o     Options
	b     *broker
	log   zerolog.Logger
	stats *stats
	crew
	holding

	entries map[string]channels.Entry // active channels, as the registry has them
	runs    map[string]*channelRun
	opening map[string]time.Time  // channels whose connector is being opened, and since when
	failed  map[string]openFailed // those whose could not be

	registry  registryReader
	changes   <-chan struct{} // of the registry; nil: nobody tells
	stopWatch context.CancelFunc
	posted    chan func()
	closing   sync.WaitGroup // connectors that are being closed
	draining  bool
	started   time.Time
	budget    *flow.Budget
}

// A crew is the workers that are there.
type crew struct {
	members *lease.Membership
	live    []string  // as last seen
	liveAt  time.Time // when they were read last
	left    bool      // this one has taken its leave
}

// A holding is the shards that a worker has.
type holding struct {
	keeper  *lease.Keeper
	leases  map[int]*lease.Lease
	leaving map[int]bool     // of these, those that go to another worker once their partitions have drained
	retake  <-chan time.Time // when a lease that others hold may have lapsed; nil: not before the next tick
}

func newManager(o Options, b *broker, st *stats) *manager {
	return &manager{
		o: o, b: b, log: o.Logger, stats: st,
		crew: crew{members: &lease.Membership{JS: b.js, Names: b.names, ID: o.ID, Within: b.leaseTTL / 4}},
		holding: holding{
			keeper: lease.NewKeeper(lease.Options{
				JS: b.js, Bucket: wire.LeasesBucket(b.names), Owner: o.ID, Session: nuid.Next(), Incarnation: b.incarnation,
				TTL: b.leaseTTL, Margin: b.leaseTTL / 8,
			}),
			leases: map[int]*lease.Lease{}, leaving: map[int]bool{},
		},
		entries: map[string]channels.Entry{},
		runs:    map[string]*channelRun{},
		opening: map[string]time.Time{},
		failed:  map[string]openFailed{},
		started: time.Now(),
		posted:  make(chan func(), 64),
		budget:  flow.NewBudget(flow.DefaultBudget),
	}
}

// run works until ctx ends, then drains.
func (m *manager) run(ctx context.Context) error {
	defer m.closing.Wait()
	// What is in flight outlives ctx by up to DrainTimeout.
	work, stop := context.WithCancelCause(context.WithoutCancel(ctx))
	defer stop(errShuttingDown)
	if err := m.beginWatch(work); err != nil {
		return err
	}
	tick := time.NewTicker(m.b.leaseTTL / 4)
	defer tick.Stop()
	reread := time.NewTicker(registryReread)
	defer reread.Stop()
	reconnected := m.b.js.Conn().StatusChanged(nats.CONNECTED)
	defer m.b.js.Conn().RemoveStatusListener(reconnected)
	m.log.Info().Dur("lease_ttl", m.b.leaseTTL).Msg("worker started")

	m.useRegistry(work, m.listChannels(work))
	m.tick(work)
	var deadline <-chan time.Time
	done := ctx.Done()
	m.stats.tell(func(s *Status) { s.Phase = Working })
	for {
		m.reconcile(work)
		m.stats.tell(func(s *Status) { s.Shards = len(m.leases) })
		if m.draining && len(m.runs) == 0 && len(m.opening) == 0 {
			m.leave(work)
			m.log.Info().Msg("worker stopped")
			return nil
		}
		select {
		case <-done:
			done, m.draining = nil, true
			m.stats.tell(func(s *Status) { s.Phase = Draining })
			m.log.Info().Msg("draining: no new deliveries, waiting for those in flight")
			m.meet(work) // the others take over at once what is given back
			timer := time.NewTimer(m.o.DrainTimeout)
			defer timer.Stop()
			deadline = timer.C
		case <-deadline:
			m.log.Warn().Msg("drain timeout is over: ending the calls in flight; they are repeated by the next owner")
			stop(errShuttingDown)
			m.waitRuns()
			m.leave(context.WithoutCancel(ctx))
			return nil
		case <-tick.C:
			if err := m.checkIncarnation(work); err != nil {
				return m.quit(work, stop, err)
			}
			m.tick(work)
		case <-m.retake:
			m.take(work)
		case _, ok := <-m.changes:
			if !ok {
				m.changes = nil // the reread goes on
				continue
			}
			m.readRegistry(work, false)
		case <-reread.C:
			m.readRegistry(work, true) // the watch may be of a bucket that was removed and made again
		case <-reconnected:
			if err := m.checkIncarnation(work); err != nil {
				return m.quit(work, stop, err)
			}
			m.tick(work)
			m.checkLog(work)
			m.readRegistry(work, true) // the old watch may be silent
			m.checkConsumers()
		case f := <-m.posted:
			f()
			m.runPosted()
		}
	}
}

// quit drops everything at once: what this worker knows is of another incarnation.
func (m *manager) quit(ctx context.Context, stop context.CancelCauseFunc, cause error) error {
	m.log.Error().Err(cause).Msg("worker stops")
	stop(cause)
	m.waitRuns()
	m.leave(context.WithoutCancel(ctx))
	return cause
}

// runPosted runs what else is already there, so that all of it is reconciled at
// once: with many channels that takes longer than what was posted.
func (m *manager) runPosted() {
	for {
		select {
		case f := <-m.posted:
			f()
		default:
			return
		}
	}
}

// post hands a function to the manager's goroutine. It never blocks for long:
// the manager always comes back to its queue.
func (m *manager) post(f func()) { m.posted <- f }

// waitRuns lets partitions, and connectors that are being opened, whose context
// has ended say so.
func (m *manager) waitRuns() {
	hung := time.After(hungAfter)
	for m.anyPartition() || len(m.opening) > 0 {
		select {
		case f := <-m.posted:
			f()
		case <-hung: // a connector that ignores its context is left behind
			clear(m.opening)
		}
	}
	for _, r := range m.runs {
		m.closing.Go(func() { r.closeConnector(context.Background()) })
	}
	clear(m.runs)
}

func (m *manager) anyPartition() bool {
	for _, r := range m.runs {
		if len(r.partitions) > 0 {
			return true
		}
	}
	return false
}

// tellChannels changes what Status says of channels, and keeps those out that
// need no connector here any more.
func (m *manager) tellChannels(change func(*Status)) {
	m.stats.tell(func(s *Status) {
		change(s)
		s.Blocked = slices.DeleteFunc(s.Blocked, func(name string) bool {
			_, wanted := m.entries[name]
			return !wanted
		})
	})
}

// sweep removes what is left of channels whose time to be restored is over.
func (m *manager) sweep(ctx context.Context) {
	ctx = context.WithoutCancel(ctx)
	m.closing.Go(func() {
		ctx, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		names, err := m.b.registry.Sweep(ctx, time.Now())
		if len(names) > 0 {
			m.log.Info().Strs("channels", names).Msg("deleted channels are removed for good")
		}
		if err != nil {
			m.log.Warn().Err(err).Msg("remove deleted channels")
		}
	})
}

// reconcile starts and drains channels and partitions so that they match the
// registry and the leases, then gives back the shards that nothing works on.
func (m *manager) reconcile(ctx context.Context) {
	for name, r := range m.runs {
		e, ok := m.entries[name]
		r.stopping = r.stopping || m.draining || !ok || !r.follow(ctx, &e)
		m.reconcileRun(ctx, r)
	}
	if !m.draining {
		for name, e := range m.entries {
			if m.runs[name] == nil && m.ownsAny(e) {
				m.startRun(ctx, e)
			}
		}
	}
	for shard, le := range m.leases {
		if m.leaving[shard] && !m.inUse(shard) {
			if err := m.keeper.Release(ctx, le); err != nil {
				m.log.Warn().Err(err).Msg("lease")
			}
			m.drop(shard)
		}
	}
	if m.draining {
		for shard := range m.leases {
			m.leaving[shard] = true
		}
	}
}

func (m *manager) ownsAny(e channels.Entry) bool {
	for p := range e.Config.Partitions {
		if m.usable(workers.Shard(e.Config.Name, p)) != nil {
			return true
		}
	}
	return false
}

func (m *manager) inUse(shard int) bool {
	for _, r := range m.runs {
		for p := range r.partitions {
			if workers.Shard(r.entry.Config.Name, p) == shard {
				return true
			}
		}
	}
	return false
}

// startRun opens a channel's connector, then its partitions. Not here: a
// connector that is slow to open must not cost a lease.
func (m *manager) startRun(ctx context.Context, e channels.Entry) {
	name := e.Config.Name
	if !m.opening[name].IsZero() || time.Now().Before(m.failed[name].next) {
		return
	}
	m.opening[name] = time.Now()
	go func() {
		r, err := openRun(ctx, m, e)
		m.post(func() { m.opened(ctx, e, r, err) })
	}()
}

// opened goes on with a channel whose connector was opened, or not.
func (m *manager) opened(ctx context.Context, e channels.Entry, r *channelRun, err error) {
	name := e.Config.Name
	delete(m.opening, name)
	if err != nil {
		m.stats.add(name, func(s *ChannelStats) { s.OpenFailures++ })
		m.tellChannels(func(s *Status) {
			if !slices.Contains(s.Blocked, name) {
				s.Blocked = append(s.Blocked, name)
			}
		})
		m.failed[name] = m.failed[name].again(err)
		m.log.Error().Err(err).Str("channel", name).Msg("channel is blocked: its connector cannot be opened; its updates are kept")
		return
	}
	m.tellChannels(func(s *Status) {
		s.Blocked = slices.DeleteFunc(s.Blocked, func(b string) bool { return b == name })
	})
	delete(m.failed, name)
	m.runs[name] = r // if it is no longer wanted, reconcile closes it
}

// reconcileRun starts and drains the partitions of one channel; when it stops
// and the last partition is gone, the connector is closed.
func (m *manager) reconcileRun(ctx context.Context, r *channelRun) {
	for _, part := range r.partitions {
		if r.stopping || m.usable(part.lease.Shard()) != part.lease {
			part.requestDrain()
		}
	}
	if !r.stopping {
		for p := range r.entry.Config.Partitions {
			le := m.usable(workers.Shard(r.entry.Config.Name, p))
			if le == nil || r.partitions[p] != nil {
				continue
			}
			part := newPartition(r, p, le)
			r.partitions[p] = part
			go func() {
				part.run()
				m.post(func() { delete(r.partitions, p) })
			}()
		}
	}
	if len(r.partitions) == 0 && (r.stopping || !m.ownsAny(r.entry)) {
		delete(m.runs, r.entry.Config.Name)
		// Not here: a connector that is slow to close must not cost a lease.
		m.closing.Go(func() { r.closeConnector(ctx) })
	}
}
