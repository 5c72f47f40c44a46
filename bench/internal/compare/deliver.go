package compare

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rs/zerolog"

	"github.com/hms-utl/extsync/internal/config"
)

// pollEvery is how often it is looked whether all is delivered. The times that
// count are noted where things happen.
const pollEvery = 20 * time.Millisecond

// errWrong says that the target does not hold what it should: there is nothing
// to report then.
var errWrong = errors.New("the target's end state is wrong")

func quiet() zerolog.Logger { return zerolog.Nop() }

func workerConfig(url string) config.Config {
	cfg := config.Default()
	cfg.NATS.URL = url
	return cfg
}

// drainBacklog measures how fast a backlog is delivered, and checks that it was
// delivered rightly.
func drainBacklog(ctx context.Context, b *bed) (m Measure, err error) {
	var f *process
	switch {
	case b.s.ready:
		if err := b.startWorkers(ctx); err != nil {
			return m, err
		}
		if err := b.awaitTakeover(ctx); err != nil {
			return m, err
		}
		if err := errors.Join(b.snapshot(), b.fill(ctx)); err != nil {
			return m, err
		}
	case b.s.workers > 0:
		if err := errors.Join(b.fill(ctx), b.snapshot()); err != nil {
			return m, err
		}
		err = b.startWorkers(ctx)
	default:
		if err := errors.Join(b.fill(ctx), b.snapshot()); err != nil {
			return m, err
		}
		f, err = b.startFloor(ctx, false)
	}
	if err != nil {
		return m, err
	}
	over, err := b.await(ctx, f)
	if err != nil {
		return m, err
	}
	if b.s.workers > 0 {
		if err := b.awaitLedger(ctx); err != nil {
			return m, err
		}
	}
	// What a latest channel does not keep counts, too: its newer version stands
	// for it.
	updates := 0
	for _, accepted := range b.accepted {
		updates += len(b.only(accepted))
	}
	took := over.Last.Sub(over.First)
	if m, err = b.measure(float64(updates)/took.Seconds(), took, updates); err != nil {
		return m, err
	}
	complete, err := b.check(ctx)
	if err != nil {
		return m, err
	}
	if b.s.workers > 0 {
		m.Ledger = max(0, complete.Sub(over.Last))
		m.Sustained = float64(updates) / (took + m.Ledger).Seconds()
	}
	return m, nil
}

// counts reports whether a key is waited for.
func (b *bed) counts(key string) bool { return !b.s.partial || !failing(key) }

// awaitTakeover waits until every worker has partitions, or every channel a
// worker.
func (b *bed) awaitTakeover(ctx context.Context) error {
	want := min(b.s.workers, b.s.partitions)
	for {
		all, err := b.client.Status(ctx, "")
		if err != nil {
			return err
		}
		waiting := 0
		for _, s := range all.Channels {
			if len(s.Workers) < want {
				waiting++
			}
		}
		if waiting == 0 {
			return nil
		}
		if err := pause(ctx); err != nil {
			return fmt.Errorf("%d channels are not shared by %d workers yet: %w", waiting, want, err)
		}
	}
}

// await returns when the first and the last delivery were confirmed: by the
// sink's clock, by the floor's, or by the acks, whichever is later.
func (b *bed) await(ctx context.Context, f *process) (over span, err error) {
	if f != nil {
		if err := f.read(&over); err != nil {
			return over, err
		}
	}
	if b.s.target == toHTTP {
		state, err := b.awaitSink(ctx)
		if err != nil {
			return over, err
		}
		over.First = state.First
		if state.Last.After(over.Last) {
			over.Last = state.Last
		}
	}
	if b.s.workers > 0 {
		for b.acks.Load() < b.want {
			if err := pause(ctx); err != nil {
				return over, fmt.Errorf("%d of %d acks came: %w", b.acks.Load(), b.want, err)
			}
		}
		if over.First.IsZero() {
			over.First = time.Unix(0, b.firstAck.Load())
		}
		if last := time.Unix(0, b.lastAck.Load()); last.After(over.Last) {
			over.Last = last
		}
	}
	return over, nil
}

// awaitSink waits until the sink has the newest version of every key that counts,
// and returns what it says then. Its Last is of the keys that count.
func (b *bed) awaitSink(ctx context.Context) (sinkState, error) {
	var want int64
	for _, accepted := range b.accepted {
		want += newestSum(accepted, b.counts)
	}
	for {
		var state sinkState
		if err := fetch(ctx, b.sinkAt+"/state", &state); err != nil {
			return state, err
		}
		if b.s.partial {
			state.Newest, state.Last = state.Newest-state.Failing, state.LastOther
		}
		if state.Newest >= want {
			return state, nil
		}
		if err := pause(ctx); err != nil {
			return state, fmt.Errorf("%w: the newest versions add up to %d instead of %d", errWrong, state.Newest, want)
		}
	}
}

func pause(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(pollEvery):
		return nil
	}
}
