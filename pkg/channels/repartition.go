package channels

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hms-utl/extsync/internal/sleep"
	"github.com/hms-utl/extsync/internal/wire"
)

const (
	// drainPatience is how long a change of partitions waits for the workers to
	// drain the old ones.
	drainPatience = 30 * time.Second
	drainPoll     = 100 * time.Millisecond
	// giveUpPatience bounds how long it takes to undo one that failed.
	giveUpPatience = 10 * time.Second
)

// ErrNotDrained says that the partitions of a channel are still worked on, or
// that a worker died and no other has cleaned up behind it.
var ErrNotDrained = errors.New("the channel's partitions could not be drained")

// repartition changes the number of a channel's partitions. Keys move between
// owners, so nothing may be in flight meanwhile: the channel is gated, its
// owners drain and record their floors, the records are closed so that nobody
// takes the old partitions over again, and the new generation starts at the
// lowest floor. If it fails half-way, what was closed is opened again and the gate
// lifted. Where that cannot be, as when the broker is away, the channel is left gated;
// putting the configuration again goes on from there.
func (r *Registry) repartition(ctx context.Context, old, changed Entry) (Entry, error) {
	next := old.stored()
	gated := old
	if !old.Gated {
		next.Gated = true
		var err error
		if gated, err = r.store(ctx, next, old.Revision); err != nil {
			return Entry{}, err
		}
	}
	if err := r.endGeneration(ctx, old, changed.Config); err != nil {
		return Entry{}, errors.Join(err, r.giveUp(context.WithoutCancel(ctx), old, gated.Revision))
	}
	next = changed.stored()
	next.Gated, next.Generation = false, old.Generation+1
	return r.store(ctx, next, gated.Revision) // if it fails, nobody knows whether it is stored
}

// endGeneration closes all partitions of a gated channel, and writes from where those of
// the next generation go on.
func (r *Registry) endGeneration(ctx context.Context, old Entry, c Config) error {
	lowest, err := r.closeGeneration(ctx, old)
	if err != nil {
		return err
	}
	log, err := r.js.Stream(ctx, wire.OutcomeStream(r.names))
	if err != nil {
		return fmt.Errorf("read the outcome log: %w", err)
	}
	first := Progress{
		Floor: lowest.Floor, FloorTime: lowest.FloorTime, StreamCreated: lowest.StreamCreated, Restored: lowest.Restored,
		LogSeq: log.CachedInfo().State.LastSeq, Clean: true,
	}
	for p := range c.Partitions {
		_, revision, err := r.progress.Read(ctx, c.Name, old.Generation+1, p)
		if err != nil {
			return err
		}
		if _, err := r.progress.Write(ctx, c.Name, old.Generation+1, p, first, revision); err != nil {
			return err
		}
	}
	return nil
}

// giveUp lets the partitions of a gated channel be worked on as before. The gate is
// lifted last: nobody takes over a partition that is closed.
func (r *Registry) giveUp(ctx context.Context, e Entry, revision uint64) error {
	ctx, cancel := context.WithTimeout(ctx, giveUpPatience)
	defer cancel()
	if err := r.reopen(ctx, e); err != nil {
		return fmt.Errorf("the channel stays gated; put its configuration again: %w", err)
	}
	next := e.stored()
	next.Gated = false
	_, err := r.store(ctx, next, revision)
	return err
}

// reopen undoes what closeGeneration has closed.
func (r *Registry) reopen(ctx context.Context, e Entry) error {
	for p := range e.Config.Partitions {
		got, last, err := r.progress.Read(ctx, e.Config.Name, e.Generation, p)
		if err == nil && got.Closed {
			got.Closed = false
			_, err = r.progress.Write(ctx, e.Config.Name, e.Generation, p, got, last)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// closeGeneration waits until every partition of a gated channel is handed over,
// closes it, and returns the progress with the lowest floor.
func (r *Registry) closeGeneration(ctx context.Context, e Entry) (lowest Progress, err error) {
	ctx, cancel := context.WithTimeout(ctx, drainPatience)
	defer cancel()
	for p := range e.Config.Partitions {
		got, err := r.closePartition(ctx, e, p)
		if err != nil {
			return Progress{}, err
		}
		restored := max(lowest.Restored, got.Restored)
		switch {
		case p == 0, got.StreamCreated == lowest.StreamCreated && got.Floor < lowest.Floor:
			lowest = got
		case got.StreamCreated != lowest.StreamCreated:
			lowest = Progress{} // from the beginning: what is settled is recognised
		}
		lowest.Restored = restored
	}
	return lowest, nil
}

func (r *Registry) closePartition(ctx context.Context, e Entry, partition int) (Progress, error) {
	for {
		p, revision, err := r.progress.Read(ctx, e.Config.Name, e.Generation, partition)
		if err != nil && !wire.IsUnavailable(err) {
			return Progress{}, err
		}
		if err == nil && p.Closed {
			return p, nil
		}
		if err == nil && p.Clean {
			p.Closed = true
			if _, err = r.progress.Write(ctx, e.Config.Name, e.Generation, partition, p, revision); err == nil {
				return p, nil
			}
		}
		if !sleep.For(ctx, drainPoll) {
			return Progress{}, fmt.Errorf("%w: partition %d of channel %s, last worked on by %q; see that a worker runs, then do this again",
				ErrNotDrained, partition, e.Config.Name, p.Worker)
		}
	}
}
