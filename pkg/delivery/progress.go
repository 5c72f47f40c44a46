package delivery

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/pkg/events"
)

// progress is what the owner of a partition leaves for the next one.
type progress struct {
	Format int `json:"f"`
	// Floor: every update of the partition up to this sequence of the stream is
	// settled. It holds for the stream that was created at StreamCreated.
	Floor         uint64 `json:"floor"`
	StreamCreated int64  `json:"stream_created"` // nanoseconds since the Unix epoch
	// LogSeq: the ledger reflects the partition's log up to this sequence, and
	// the acks up to there were sent.
	LogSeq uint64 `json:"log_seq"`
	// Consumer is the last one that was made, or was about to be.
	Consumer string `json:"consumer,omitempty"`
	Worker   string `json:"worker"`
	Epoch    uint64 `json:"epoch"`
	// Clean says that the owner has handed over: nothing of it is in flight.
	Clean bool `json:"clean"`
}

// progressKey names a partition's record. The generation is part of it because
// another number of partitions spreads the keys in another way.
func progressKey(channel string, generation, partition int) string {
	return channel + ".g" + strconv.Itoa(generation) + ".p" + strconv.Itoa(partition)
}

// readProgress returns the partition's progress and its revision; zero values if
// nobody has worked on it yet.
func (t *tenure) readProgress(ctx context.Context) (progress, uint64, error) {
	e, err := t.b.progress.Get(ctx, t.progressKey)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return progress{Format: events.Format, Clean: true}, 0, nil
	}
	if err != nil {
		return progress{}, 0, fmt.Errorf("read progress: %w", err)
	}
	var p progress
	if err := json.Unmarshal(e.Value(), &p); err != nil {
		return progress{}, 0, fmt.Errorf("read progress %s: %w", t.progressKey, err)
	}
	if err := events.CheckFormat(p.Format); err != nil {
		return progress{}, 0, fmt.Errorf("progress %s: %w", t.progressKey, err)
	}
	return p, e.Revision(), nil
}

// writeProgress stores t.prog by compare-and-set. errProgress means that another
// worker has the partition. Only one goroutine writes at a time: takeOver,
// flushLoop, handOver and the puller's renewal of a consumer share progMu.
func (t *tenure) writeProgress(ctx context.Context, change func(*progress)) error {
	t.progMu.Lock()
	defer t.progMu.Unlock()
	next := t.prog
	change(&next)
	next.Format, next.Worker, next.Epoch = events.Format, t.p.r.worker, t.p.lease.epoch
	if next == t.prog && t.progRevision != 0 {
		return nil
	}
	data, err := json.Marshal(next)
	if err != nil {
		return fmt.Errorf("write progress: %w", err)
	}
	revision, err := t.b.progress.Update(ctx, t.progressKey, data, t.progRevision)
	if events.IsWrongSequence(err) || errors.Is(err, jetstream.ErrKeyExists) {
		// It may be our own write whose answer was lost.
		found, at, rerr := t.readProgress(ctx)
		if rerr != nil {
			return rerr
		}
		if found != next {
			return errProgress
		}
		revision = at
	} else if err != nil {
		return fmt.Errorf("write progress: %w", err)
	}
	t.prog, t.progRevision = next, revision
	return nil
}
