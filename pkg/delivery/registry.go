package delivery

import (
	"context"
	"time"

	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/channels"
)

// The registry is read beside the manager's own work: a registry that does not answer,
// as while its stream elects a leader, must cost no lease. Only the first time, when
// there is no lease yet, the manager waits for it.

// registryPatience bounds a read of the registry, and the start of a watch.
const registryPatience = 5 * time.Second

// A registryReader says what of the registry is being read. It is the manager's.
type registryReader struct {
	busy         bool // a read is under way
	again, watch bool // another one is wanted, with a new watch
}

// A registryRead is what came of a read.
type registryRead struct {
	list []channels.Entry
	err  error

	watched   bool // a new watch was asked for
	changes   <-chan struct{}
	stopWatch context.CancelFunc
	watchErr  error
}

// beginWatch listens to the registry for the first time. If the broker does not answer, it
// is tried again as after any other outage.
func (m *manager) beginWatch(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	m.stopWatch = stop
	changes, err := m.b.registry.Changes(ctx)
	if err == nil {
		m.changes = changes
		return nil
	}
	stop()
	if !wire.IsUnavailable(err) {
		return err
	}
	m.log.Warn().Err(err).Msg("watch the channel registry; it is read from time to time all the same")
	return nil
}

// readRegistry has entries brought up to the registry, with watch by a new watch from
// now on. One read is under way at a time.
func (m *manager) readRegistry(ctx context.Context, watch bool) {
	if m.registry.busy {
		m.registry.again, m.registry.watch = true, m.registry.watch || watch
		return
	}
	m.registry = registryReader{busy: true}
	m.closing.Go(func() {
		var r registryRead
		if watch {
			r.watched = true
			var watching context.Context
			watching, r.stopWatch = context.WithCancel(ctx)
			if r.changes, r.watchErr = m.b.registry.Changes(watching); r.watchErr != nil {
				r.stopWatch()
			}
		}
		listed := m.listChannels(ctx)
		r.list, r.err = listed.list, listed.err
		select {
		case m.posted <- func() { m.noteRegistry(ctx, r) }:
		case <-ctx.Done():
		}
	})
}

func (m *manager) listChannels(ctx context.Context) (r registryRead) {
	ctx, cancel := context.WithTimeout(ctx, registryPatience)
	defer cancel()
	r.list, r.err = m.b.registry.List(ctx)
	return r
}

// noteRegistry takes over what was read, and reads again what changed meanwhile.
func (m *manager) noteRegistry(ctx context.Context, r registryRead) {
	switch {
	case r.watched && r.watchErr != nil:
		m.log.Warn().Err(r.watchErr).Msg("watch the channel registry; it is read from time to time all the same")
	case r.watched:
		m.stopWatch()
		m.changes, m.stopWatch = r.changes, r.stopWatch
	}
	m.useRegistry(ctx, r)
	next := m.registry
	if m.registry.busy = false; next.again {
		m.readRegistry(ctx, next.watch)
	}
}

// useRegistry brings entries up to what was read. On an error the worker goes on with
// what it knows.
func (m *manager) useRegistry(ctx context.Context, r registryRead) {
	if r.err != nil {
		m.log.Error().Err(r.err).Msg("read the channel registry")
		if r.list == nil {
			return
		}
	}
	clear(m.entries)
	paused, deleted, expired := 0, 0, false
	for _, e := range r.list {
		expired = expired || !e.Deleted.IsZero() && time.Since(e.Deleted) > channels.DeletedRetention
		switch {
		case !e.Deleted.IsZero():
			deleted++
		case e.Paused() && !e.Gated: // for the gate, its partitions are handed over
			paused++
		default:
			m.entries[e.Config.Name] = e
		}
	}
	if expired {
		m.sweep(ctx)
	}
	m.noteActive()
	m.tellChannels(func(s *Status) { s.Active, s.Paused, s.Deleted = len(m.entries), paused, deleted })
}
