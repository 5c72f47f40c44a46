package delivery

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/hms-utl/extsync/pkg/delivery/internal/lease"
	"github.com/hms-utl/extsync/pkg/workers"
)

// Which shards this worker has: it says that it is there, finds out who else is, and
// leases its share of what the channels use. All of it is the manager's goroutine.

// tick renews the worker's leases, announces it, and takes or gives up shards by
// the workers that are live now.
func (m *manager) tick(ctx context.Context) {
	m.renew(ctx)
	m.meet(ctx)
	desired := m.desiredShards()
	for shard, le := range m.leases {
		if le.Context().Err() != nil {
			le.Stop(lease.ErrLapsed)
			m.drop(shard)
			continue
		}
		m.leaving[shard] = !desired[shard]
	}
	m.take(ctx)
}

// leasesAtOnce bounds the leases that are got side by side: those that were got first
// must not lapse until the last is there.
const leasesAtOnce = 16

// take leases what this worker should have and nobody holds. Where an owner seems
// to have gone, it comes back when that is certain.
func (m *manager) take(ctx context.Context) {
	m.retake = nil
	if m.draining {
		return
	}
	if err := m.keeper.Look(ctx); err != nil {
		m.log.Warn().Err(err).Msg("lease")
	}
	tick := m.b.leaseTTL / 4
	soonest, taken := tick, false
	var mu sync.Mutex
	var group errgroup.Group
	group.SetLimit(leasesAtOnce)
	wanted := slices.DeleteFunc(slices.Collect(maps.Keys(m.desiredShards())), func(shard int) bool { return m.leases[shard] != nil })
	for _, shard := range wanted {
		group.Go(func() error {
			le, err := m.keeper.Acquire(ctx, shard)
			mu.Lock()
			defer mu.Unlock()
			var held *lease.HeldError
			switch {
			case err == nil:
				m.leases[shard], taken = le, true
			case errors.As(err, &held):
				soonest = min(soonest, held.Lapses)
			default:
				m.log.Warn().Err(err).Msg("lease")
			}
			return nil
		})
	}
	_ = group.Wait() // none fails
	if taken {       // else readers find the partitions without an owner until the next tick
		if err := m.announce(ctx); err != nil {
			m.log.Warn().Err(err).Msg("announce the worker")
		}
	}
	if soonest < tick {
		m.retake = time.After(soonest)
	}
}

// drop forgets a lease that has ended.
func (m *manager) drop(shard int) {
	delete(m.leases, shard)
	delete(m.leaving, shard)
}

// renew extends all leases side by side: one slow answer must not cost the rest.
func (m *manager) renew(ctx context.Context) {
	var wg sync.WaitGroup
	for _, le := range m.leases {
		if le.Context().Err() != nil {
			continue
		}
		wg.Go(func() {
			if err := m.keeper.Renew(ctx, le); err != nil {
				m.log.Warn().Err(err).Msg("lease")
			}
		})
	}
	wg.Wait()
}

// desiredShards returns the shards that this worker should have: its share of
// those that any channel uses.
func (m *manager) desiredShards() map[int]bool {
	out := map[int]bool{}
	if m.draining {
		return out
	}
	used := map[int]bool{}
	for name, e := range m.entries {
		for p := range e.Config.Partitions {
			used[workers.Shard(name, p)] = true
		}
	}
	for shard, worker := range lease.Assign(slices.Collect(maps.Keys(used)), m.live) {
		if worker == m.o.ID {
			out[shard] = true
		}
	}
	return out
}

// usable returns the lease of a shard that may be worked on.
func (m *manager) usable(shard int) *lease.Lease {
	le := m.leases[shard]
	if le == nil || m.leaving[shard] || le.Context().Err() != nil {
		return nil
	}
	return le
}

// meet announces the worker, then lists those that are alive. Without the first
// the second means nothing: a record that is gone may be the only one there.
func (m *manager) meet(ctx context.Context) {
	var live []string
	err := m.announce(ctx)
	if m.draining { // it has what it works on until then, and wants no more
		if err != nil {
			m.log.Warn().Err(err).Msg("announce the worker")
		}
		return
	}
	if err == nil {
		live, err = m.members.Live(ctx)
	}
	if err != nil {
		m.log.Warn().Err(err).Msg("live workers")
		if time.Since(m.liveAt) >= m.b.leaseTTL {
			m.stats.tell(func(s *Status) { s.MembersUnknown = err.Error() })
		}
		return
	}
	m.liveAt = time.Now()
	m.stats.tell(func(s *Status) { s.MembersUnknown = "" })
	if !slices.Equal(live, m.live) {
		m.log.Info().Strs("workers", live).Msg("live workers")
		m.live = live
	}
}

// announce says that this worker is live, or has left.
func (m *manager) announce(ctx context.Context) error {
	data, err := m.announcement()
	if err != nil {
		return err
	}
	return m.members.Announce(ctx, data)
}

// leave takes the worker's announcement and its leases back, so that others go
// on at once. Both end by a newer record: what is deleted comes back with a broker
// that is killed.
func (m *manager) leave(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, m.b.leaseTTL/4)
	defer cancel()
	var errs []error
	for shard, le := range m.leases {
		errs = append(errs, m.keeper.Release(ctx, le))
		m.drop(shard)
	}
	m.left = true
	errs = append(errs, m.announce(ctx))
	if err := errors.Join(errs...); err != nil {
		m.log.Warn().Err(err).Msg("leaving: others take over when the leases end")
	}
}

// checkConsumers has every partition look after its consumer: one in memory is gone when
// the broker was started again, and heartbeats tell that late.
func (m *manager) checkConsumers() {
	_, tenures := m.stats.status()
	for _, t := range tenures {
		t.feed.Check()
	}
}
