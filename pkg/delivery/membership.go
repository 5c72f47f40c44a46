package delivery

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/workers"
)

// membership is one worker's place among those that are alive.
type membership struct {
	js    jetstream.JetStream
	names events.Names
	id    string
	// within bounds each step.
	within time.Duration
}

// announce stores what the worker says of itself. It has no lifetime of its own: a
// broker that was killed brings back what stood behind a record that has ended.
func (m *membership) announce(ctx context.Context, data []byte) error {
	ctx, cancel := context.WithTimeout(ctx, m.within)
	defer cancel()
	msg := &nats.Msg{Subject: events.KVSubject(m.names.WorkersBucket(), m.id), Data: data}
	if _, err := m.js.PublishMsg(ctx, msg, jetstream.WithRetryAttempts(0)); err != nil {
		return fmt.Errorf("announce the worker: %w", err)
	}
	return nil
}

// read lists the workers that are alive by name, after the worker has announced
// itself: its own record is then the measure for all others, the same for whoever
// reads. A worker that announces itself in a newer format cannot be judged.
func (m *membership) read(ctx context.Context) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, m.within)
	defer cancel()
	crew, err := workers.Read(ctx, m.js, m.names)
	if err != nil {
		return nil, fmt.Errorf("list the live workers: %w", err)
	}
	var live []string
	for _, b := range crew.Beats {
		if errors.Is(b.Bad, events.ErrNewerFormat) {
			return nil, fmt.Errorf("list the live workers: %.64s: %w", b.Worker, b.Bad)
		}
		if b.Alive {
			live = append(live, b.Worker)
		}
	}
	return live, nil
}
