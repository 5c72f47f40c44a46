package lease

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/workers"
)

// A Membership is one worker's place among those that are alive.
type Membership struct {
	JS    jetstream.JetStream
	Names events.Names
	ID    string
	// Within bounds each step.
	Within time.Duration
}

// Announce stores what the worker says of itself. It has no lifetime of its own: a
// broker that was killed brings back what stood behind a record that has ended.
func (m *Membership) Announce(ctx context.Context, data []byte) error {
	ctx, cancel := context.WithTimeout(ctx, m.Within)
	defer cancel()
	msg := &nats.Msg{Subject: wire.KVSubject(wire.WorkersBucket(m.Names), m.ID), Data: data}
	if _, err := m.JS.PublishMsg(ctx, msg, jetstream.WithRetryAttempts(0)); err != nil {
		return fmt.Errorf("announce the worker: %w", err)
	}
	return nil
}

// Live lists the workers that are alive by name, after the worker has announced
// itself: its own record is then the measure for all others, the same for whoever
// reads. A worker that announces itself in a newer format cannot be judged.
func (m *Membership) Live(ctx context.Context) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, m.Within)
	defer cancel()
	crew, err := workers.Read(ctx, m.JS, m.Names)
	if err != nil {
		return nil, fmt.Errorf("list the live workers: %w", err)
	}
	var live []string
	for _, b := range crew.Beats {
		if errors.Is(b.Bad, events.ErrNewerFormat) {
			return nil, fmt.Errorf("list the live workers: %.64s: %w", b.Worker, b.Bad)
		}
		if b.Alive && !b.Draining { // a share of one that is about to end would lie idle
			live = append(live, b.Worker)
		}
	}
	return live, nil
}
