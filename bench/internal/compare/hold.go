package compare

import (
	"context"
	"errors"
	"time"
)

// hold measures what a worker needs while it has a backlog, or nothing, to do.
func hold(ctx context.Context, b *bed) (m Measure, err error) {
	if err := errors.Join(b.fill(ctx), b.snapshot()); err != nil {
		return m, err
	}
	if err := b.startWorkers(ctx); err != nil {
		return m, err
	}
	if b.s.updates == 0 { // let it take over everything first
		if err := b.awaitTakeover(ctx); err != nil {
			return m, err
		}
		if err := errors.Join(b.settle(ctx), b.snapshot()); err != nil {
			return m, err
		}
	}
	from := time.Now()
	for time.Since(from) < b.s.peek && (b.s.updates == 0 || b.acks.Load() < int64(b.s.updates)) {
		if err := pause(ctx); err != nil {
			return m, err
		}
	}
	took := time.Since(from)
	done := int(b.acks.Load())
	m, err = b.measure(float64(done)/took.Seconds(), took, max(1, done))
	if b.s.updates == 0 { // shares of a core instead
		for name, cpu := range m.CPU {
			m.CPU[name] = cpu / 1000 / took.Seconds()
		}
	}
	return m, err
}

// settle waits until the workers have done nothing for a second.
func (b *bed) settle(ctx context.Context) error {
	for calm := time.Duration(0); calm < time.Second; calm += pollEvery {
		before, err := b.cpu()
		if err != nil {
			return err
		}
		if err := pause(ctx); err != nil {
			return err
		}
		after, err := b.cpu()
		if err != nil {
			return err
		}
		if after[roleWorker]-before[roleWorker] > tick {
			calm = 0
		}
	}
	return nil
}
