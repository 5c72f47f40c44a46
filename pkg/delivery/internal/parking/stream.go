package parking

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/events"
)

// ErrLost says that a parked update is no longer there.
var ErrLost = errors.New("the parked update is gone from its stream")

const (
	contentPatience = 10 * time.Second
	deletePatience  = 5 * time.Second
	fetchPatience   = 5 * time.Second
	fetchMost       = 500
)

// Options say whose updates are parked.
type Options struct {
	JS          jetstream.JetStream
	Stream      jetstream.Stream // of all parked updates
	Names       events.Names
	Channel, ID string
	Partition   int
	Partitions  int
	Logger      zerolog.Logger
}

// A Stream is the parked updates of a partition. It is safe for concurrent use.
type Stream struct {
	o     Options
	route events.Route // of the channel, whatever it reads: parked updates are the channel's own
}

// New returns the parked updates of a partition.
func New(o Options) *Stream { return &Stream{o: o, route: events.ToChannel(o.Channel)} }

// Content reads headers and payload of the update at a sequence of the parked stream, or
// ErrLost.
func (s *Stream) Content(ctx context.Context, seq uint64) (*jetstream.RawStreamMsg, error) {
	ctx, cancel := context.WithTimeout(ctx, contentPatience)
	defer cancel()
	msg, err := s.o.Stream.GetMsg(ctx, seq)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, ErrLost
	}
	if err != nil {
		return nil, fmt.Errorf("read a parked update: %w", err)
	}
	return msg, nil
}

// Delete removes the update at a sequence, if it is there.
func (s *Stream) Delete(ctx context.Context, seq uint64) error {
	ctx, cancel := context.WithTimeout(ctx, deletePatience)
	defer cancel()
	if err := s.o.Stream.DeleteMsg(ctx, seq); err != nil && !errors.Is(err, jetstream.ErrMsgNotFound) {
		return fmt.Errorf("remove a parked update that is settled: %w", err)
	}
	return nil
}

// All calls found for every parked update of the partition, those of a key in their
// order, without payload.
func (s *Stream) All(ctx context.Context, found func(Parked)) error {
	all := wire.PartitionParked(s.o.Names, s.o.Channel, s.o.Partition, s.o.Partitions)
	info, err := s.o.Stream.Info(ctx, jetstream.WithSubjectFilter(all))
	if err != nil {
		return fmt.Errorf("look for parked updates: %w", err)
	}
	if len(info.State.Subjects) == 0 {
		return nil
	}
	return s.read(ctx, all, 0, 0, found)
}

// OfKey calls found for parked updates of a key, from a sequence of the parked stream on,
// in their order, without payload; for most of them at most.
func (s *Stream) OfKey(ctx context.Context, key string, from uint64, most int, found func(Parked)) error {
	return s.read(ctx, wire.ParkedUpdate(s.o.Names, s.o.Channel, key), from, most, found)
}

// read calls found for parked updates on the subjects of a filter in order, from a
// sequence on. most is 0 for all.
func (s *Stream) read(ctx context.Context, filter string, from uint64, most int, found func(Parked)) error {
	cfg := jetstream.OrderedConsumerConfig{FilterSubjects: []string{filter}, HeadersOnly: true, DeliverPolicy: jetstream.DeliverAllPolicy}
	if from > 0 {
		cfg.DeliverPolicy, cfg.OptStartSeq = jetstream.DeliverByStartSequencePolicy, from
	}
	c, err := s.o.Stream.OrderedConsumer(ctx, cfg)
	if err != nil {
		return fmt.Errorf("read parked updates: %w", err)
	}
	left := c.CachedInfo().NumPending
	for n := 0; left > 0 && (most == 0 || n < most); {
		batch, err := c.Fetch(int(min(left, fetchMost)), jetstream.FetchMaxWait(fetchPatience)) //nolint:gosec // at most fetchMost
		if err != nil {
			return fmt.Errorf("read parked updates: %w", err)
		}
		got := 0
		for msg := range batch.Messages() {
			got++
			meta, err := msg.Metadata()
			if err != nil {
				return fmt.Errorf("read parked updates: %w", err)
			}
			left = meta.NumPending
			if most > 0 && n >= most {
				continue
			}
			if p, ok := s.decode(ctx, msg, wire.KeyOfSubject(msg.Subject()), meta.Sequence.Stream); ok {
				found(p)
				n++
			}
		}
		if err := batch.Error(); err != nil {
			return fmt.Errorf("read parked updates: %w", err)
		}
		if got == 0 {
			return fmt.Errorf("%w: parked updates do not come", events.ErrUnavailable)
		}
	}
	return nil
}
