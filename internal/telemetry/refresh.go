package telemetry

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/hms-utl/extsync/internal/sleep"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/events"
)

const (
	// refreshEvery is how often the broker is asked. It is asked less often when
	// answering takes it long: at most one part in refreshShare of the time.
	refreshEvery = 15 * time.Second
	refreshMost  = 5 * time.Minute
	refreshShare = 50
	refreshLimit = 30 * time.Second
)

// Refresh asks the broker, now and then until ctx ends, for what the worker
// cannot know: how much waits there, and how many dead letters there are.
func (m *WorkerMetrics) Refresh(ctx context.Context, js jetstream.JetStream, names events.Names, logger zerolog.Logger) {
	for {
		started := time.Now()
		err := m.RefreshNow(ctx, js, names)
		if err != nil && ctx.Err() == nil {
			logger.Debug().Err(err).Msg("refresh metrics")
		}
		wait := min(max(refreshEvery, refreshShare*time.Since(started)), refreshMost)
		if !sleep.For(ctx, wait) {
			return
		}
	}
}

// RefreshNow asks once.
func (m *WorkerMetrics) RefreshNow(ctx context.Context, js jetstream.JetStream, names events.Names) error {
	ctx, cancel := context.WithTimeout(ctx, refreshLimit)
	defer cancel()
	letters, err := countLetters(ctx, js, names)
	if err != nil {
		return err
	}
	m.mu.Lock()
	w := m.worker
	m.mu.Unlock()
	waiting, err := w.Waiting(ctx)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.letters, m.waiting, m.refreshed = letters, waiting, time.Now()
	return err
}

// countLetters counts dead letters by channel. It does not read them.
func countLetters(ctx context.Context, js jetstream.JetStream, names events.Names) (map[string]uint64, error) {
	stream, err := js.Stream(ctx, wire.DeadStream(names))
	if err != nil {
		return nil, fmt.Errorf("count dead letters: %w", err)
	}
	out := map[string]uint64{}
	if stream.CachedInfo().State.Msgs == 0 {
		return out, nil
	}
	info, err := stream.Info(ctx, jetstream.WithSubjectFilter(wire.DeadSubjects(names)))
	if err != nil {
		return nil, fmt.Errorf("count dead letters: %w", err)
	}
	for subject, n := range info.State.Subjects {
		if channel, _, ok := wire.SplitDead(names, subject); ok {
			out[channel] += n
		}
	}
	return out, nil
}
