package channels

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/internal/wire"
)

func resyncKey(channel string) string { return channel + ".resync" }

func resyncProgressKey(channel string, generation, partition int) string {
	return resyncKey(channel) + ".g" + strconv.Itoa(generation) + ".p" + strconv.Itoa(partition)
}

// ReadResync returns what the operator wants resynced, or ErrNoResync.
func (s *ProgressStore) ReadResync(ctx context.Context, channel string) (Resync, error) {
	resync, _, err := s.readResync(ctx, channel)
	return resync, err
}

func (s *ProgressStore) readResync(ctx context.Context, channel string) (Resync, uint64, error) {
	var resync Resync
	revision, err := s.read(ctx, resyncKey(channel), &resync)
	if err != nil {
		return Resync{}, 0, err
	}
	if revision == 0 {
		return Resync{}, 0, fmt.Errorf("%w: %s", ErrNoResync, channel)
	}
	return resync, revision, wire.CheckFormat(resync.Format)
}

// ReadResyncProgress returns how far a partition has come; the zero value if
// nothing is recorded.
func (s *ProgressStore) ReadResyncProgress(ctx context.Context, channel string, generation, partition int) (ResyncProgress, error) {
	var p ResyncProgress
	revision, err := s.read(ctx, resyncProgressKey(channel, generation, partition), &p)
	if err != nil || revision == 0 || p.Incarnation != s.incarnation {
		return ResyncProgress{}, err
	}
	return p, wire.CheckFormat(p.Format)
}

// WriteResyncProgress records how far a partition has come. Only its owner does;
// a former owner that is late makes the next one repeat a little.
func (s *ProgressStore) WriteResyncProgress(ctx context.Context, channel string, generation, partition int, p ResyncProgress) error {
	p.Format, p.Incarnation = wire.Format, s.incarnation
	data, err := json.Marshal(p)
	if err != nil {
		return fmt.Errorf("write progress: %w", err)
	}
	key := resyncProgressKey(channel, generation, partition)
	if _, err := s.kv.Put(ctx, key, data); err != nil {
		return fmt.Errorf("write progress %s: %w", key, err)
	}
	return nil
}

// read decodes a record, and returns revision 0 if there is none.
func (s *ProgressStore) read(ctx context.Context, key string, into any) (uint64, error) {
	e, err := s.from.Get(ctx, key)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read progress %s: %w", key, err)
	}
	if err := json.Unmarshal(e.Value(), into); err != nil {
		return 0, fmt.Errorf("progress %s: %w", key, err)
	}
	return e.Revision(), nil
}

// write stores a record if it is still at a revision (0: not there).
func (s *ProgressStore) write(ctx context.Context, key string, v any, expect uint64) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("write progress: %w", err)
	}
	_, err = s.kv.Update(ctx, key, data, expect)
	if wire.IsWrongSequence(err) || errors.Is(err, jetstream.ErrKeyExists) {
		return fmt.Errorf("%w: %s", ErrResyncActive, key)
	}
	if err != nil {
		return fmt.Errorf("write progress %s: %w", key, err)
	}
	return nil
}
