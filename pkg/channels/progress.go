package channels

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/events"
)

// Progress is what the owner of a partition leaves for the next one, and for
// people to look at.
type Progress struct {
	Format int `json:"f"`
	// Incarnation is that of the installation in which it was written. In another one
	// nothing that it says of sequences holds, see Read.
	Incarnation wire.Incarnation `json:"incarnation"`
	// Floor: every update of the partition up to this sequence of the stream is
	// settled. It holds for the stream that was created at StreamCreated
	// (nanoseconds since the Unix epoch).
	Floor         uint64 `json:"floor"`
	StreamCreated int64  `json:"stream_created"`
	// FloorTime is when the broker stored the newest update up to Floor, in
	// nanoseconds since the Unix epoch; 0 if that is not known. Messages up to Floor
	// that are newer have a sequence that was given twice.
	FloorTime int64 `json:"floor_time,omitempty"`
	// Restored (Unix seconds) is when a worker found that the broker holds older files
	// than before, without a new incarnation; 0: no worker has.
	Restored int64 `json:"restored,omitempty"`
	// LogSeq: the ledger reflects the partition's log up to this sequence, and
	// the acks up to there were sent.
	LogSeq uint64 `json:"log_seq"`
	// Consumer is the last one that was made, or was about to be.
	Consumer string `json:"consumer,omitempty"`
	// Done is how many of the messages that Consumer has sent are settled or parked.
	Done   uint64 `json:"done,omitempty"`
	Worker string `json:"worker,omitempty"`
	Epoch  uint64 `json:"epoch,omitempty"`
	// Clean says that the owner has handed over: nothing of it is in flight.
	Clean bool `json:"clean"`
	// Closed says that the partition belongs to a generation that has ended.
	Closed bool `json:"closed,omitempty"`
	// Circuit is "closed", "open" or "blocked", Reason why it is not closed, and
	// Since (Unix seconds) since when.
	Circuit string `json:"circuit,omitempty"`
	Reason  string `json:"reason,omitempty"`
	Since   int64  `json:"since,omitempty"`
	// Refusals are how many updates the target has refused in a row for good, taking none.
	Refusals int `json:"refusals,omitempty"`
	// Census is what the partition has in the streams that all channels share.
	Census Census `json:"census,omitzero"`
	// NextProbe is when the target is tried again (Unix milliseconds); 0 if Circuit is
	// closed, and while a probe is on its way.
	NextProbe int64 `json:"next_probe,omitempty"`
}

// ErrProgressChanged says that somebody else has written a partition's progress.
var ErrProgressChanged = errors.New("the partition's progress was written by another worker")

// ProgressStore keeps the progress of all partitions, in the incarnation that the
// installation had when it was opened. It is safe for concurrent use.
type ProgressStore struct {
	kv          jetstream.KeyValue
	from        entryReader // kv, or what was read of it
	incarnation wire.Incarnation
}

// OpenProgress returns the progress store of a provisioned broker.
func OpenProgress(ctx context.Context, js jetstream.JetStream, names events.Names) (*ProgressStore, error) {
	kv, err := js.KeyValue(ctx, wire.ProgressBucket(names))
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		return nil, fmt.Errorf("%w: bucket %s is missing", events.ErrNotProvisioned, wire.ProgressBucket(names))
	}
	if err != nil {
		return nil, fmt.Errorf("open progress: %w", err)
	}
	incarnation, err := wire.ReadIncarnation(ctx, js, names)
	if err != nil {
		return nil, err
	}
	return &ProgressStore{kv: kv, from: kv, incarnation: incarnation}, nil
}

// Incarnation returns the incarnation in which the store was opened.
func (s *ProgressStore) Incarnation() wire.Incarnation { return s.incarnation }

// progressKey names a partition's record. The generation is part of it because
// another number of partitions spreads the keys in another way.
func progressKey(channel string, generation, partition int) string {
	return channel + ".g" + strconv.Itoa(generation) + ".p" + strconv.Itoa(partition)
}

// nextGeneration returns the first generation of a channel that nobody has worked on:
// 1, unless the registry has lost an entry of that name. The old ones may be closed.
func (s *ProgressStore) nextGeneration(ctx context.Context, channel string) (int, error) {
	keys, err := s.kv.ListKeysFiltered(ctx, channel+".*.*")
	if err != nil {
		return 0, fmt.Errorf("look for former partitions of channel %s: %w", channel, err)
	}
	next := 1
	for key := range keys.Keys() {
		var generation, partition int
		if n, err := fmt.Sscanf(strings.TrimPrefix(key, channel), ".g%d.p%d", &generation, &partition); err == nil && n == 2 {
			next = max(next, generation+1)
		}
	}
	return next, nil
}

// Read returns a partition's progress and its revision: clean, and revision 0,
// if nobody has worked on it yet. Of a record of another incarnation only the
// consumer is left: its floor is 0, the ledger reflects nothing, nobody has handed
// over.
func (s *ProgressStore) Read(ctx context.Context, channel string, generation, partition int) (Progress, uint64, error) {
	p, e, err := s.entry(ctx, progressKey(channel, generation, partition))
	if err != nil || e == nil {
		return p, 0, err
	}
	return p, e.Revision(), nil
}

// entry returns a record and the entry that it comes from, nil if there is none.
func (s *ProgressStore) entry(ctx context.Context, key string) (Progress, jetstream.KeyValueEntry, error) {
	e, err := s.from.Get(ctx, key)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return Progress{Format: wire.Format, Clean: true}, nil, nil
	}
	if err != nil {
		return Progress{}, nil, fmt.Errorf("read progress %s: %w", key, err)
	}
	var p Progress
	if err := json.Unmarshal(e.Value(), &p); err != nil {
		return Progress{}, nil, fmt.Errorf("progress %s: %w", key, err)
	}
	if err := wire.CheckFormat(p.Format); err != nil {
		return Progress{}, nil, fmt.Errorf("progress %s: %w", key, err)
	}
	if p.Incarnation != s.incarnation {
		p = Progress{Format: p.Format, Consumer: p.Consumer}
	}
	return p, e, nil
}

// Write stores a partition's progress if it is still at a revision (0: not
// there), and returns the new one. ErrProgressChanged means that it is not.
func (s *ProgressStore) Write(ctx context.Context, channel string, generation, partition int, p Progress, expect uint64) (uint64, error) {
	p.Format, p.Incarnation = wire.Format, s.incarnation
	data, err := json.Marshal(p)
	if err != nil {
		return 0, fmt.Errorf("write progress: %w", err)
	}
	key := progressKey(channel, generation, partition)
	revision, err := s.kv.Update(ctx, key, data, expect)
	if err == nil {
		return revision, nil
	}
	if !wire.IsWrongSequence(err) && !errors.Is(err, jetstream.ErrKeyExists) {
		return 0, fmt.Errorf("write progress %s: %w", key, err)
	}
	// It may be our own write whose answer was lost.
	found, at, err := s.Read(ctx, channel, generation, partition)
	if err != nil {
		return 0, err
	}
	if same, err := json.Marshal(found); err != nil || !bytes.Equal(same, data) {
		return 0, fmt.Errorf("%w: %s", ErrProgressChanged, key)
	}
	return at, nil
}

// NextProbeTime returns NextProbe as a time, zero if it is not set.
func (p *Progress) NextProbeTime() time.Time {
	if p.NextProbe == 0 {
		return time.Time{}
	}
	return time.UnixMilli(p.NextProbe).UTC()
}

// RestoredTime returns Restored as a time, zero if it is not set.
func (p *Progress) RestoredTime() time.Time {
	if p.Restored == 0 {
		return time.Time{}
	}
	return time.Unix(p.Restored, 0).UTC()
}

// SinceTime returns Since as a time, zero if it is not set.
func (p *Progress) SinceTime() time.Time {
	if p.Since == 0 {
		return time.Time{}
	}
	return time.Unix(p.Since, 0).UTC()
}
