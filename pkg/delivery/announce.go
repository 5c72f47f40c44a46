package delivery

import (
	"context"
	"errors"
	"slices"
	"time"
)

// meet announces the worker, then lists those that are alive. Without the first
// the second means nothing: a record that is gone may be the only one there.
func (m *manager) meet(ctx context.Context) {
	if m.draining {
		return
	}
	var live []string
	err := m.announce(ctx)
	if err == nil {
		live, err = m.members.read(ctx)
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
	return m.members.announce(ctx, data)
}

// leave takes the worker's announcement and its leases back, so that others go
// on at once. Both end by a newer record: what is deleted comes back with a broker
// that is killed.
func (m *manager) leave(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, m.b.leaseTTL/4)
	defer cancel()
	var errs []error
	for shard, le := range m.leases {
		errs = append(errs, m.leaser.release(ctx, le))
		delete(m.leases, shard)
	}
	m.left = true
	errs = append(errs, m.announce(ctx))
	if err := errors.Join(errs...); err != nil {
		m.log.Warn().Err(err).Msg("leaving: others take over when the leases end")
	}
}
