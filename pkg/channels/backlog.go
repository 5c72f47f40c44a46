package channels

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/events"
)

// headerParkedSince is the header of a parked update that says when it was published.
const headerParkedSince = "Extsync-Parked-Published"

// A Backlog is what of a channel has no outcome yet.
type Backlog struct {
	// Undelivered counts updates without an outcome, parked ones included. With AtMost
	// it may be a few too many: a worker says every 0.5 to 3 s what it has done, and
	// where none is at work the updates behind the floor count, of which some may be
	// settled.
	Undelivered uint64
	AtMost      bool
	// Oldest is when the first of them was stored; zero if there is none. The true one
	// may be older where many keys are parked: only the one that was parked first is
	// looked at.
	Oldest    time.Time
	Messages  uint64 // that the stream holds which the channel reads
	Bytes     uint64 // of these
	MaxBytes  uint64 // that it may hold; 0: there is no bound
	Published uint64 // updates ever stored there
	// Filling is how many keys of what its topic had a new channel has not looked at yet, of
	// FillTotal. They are among Undelivered.
	Filling, FillTotal uint64
	Partitions         []PartitionBacklog
}

// A PartitionBacklog is what of a partition has no outcome yet.
type PartitionBacklog struct {
	Undelivered uint64
	Parked      uint64    // of these
	Oldest      time.Time // of those that are not parked
	// Consumer says that the broker has the consumer of the worker that has the
	// partition, or had it last.
	Consumer bool
	Progress Progress
	// Written is when the progress was written last; zero if it never was.
	Written time.Time
}

// Backlog counts what of a channel has no outcome yet; jetstream.ErrStreamNotFound if
// the channel's stream is gone. It costs the broker a few numbers for each partition,
// the list of the parked keys, and one small question for each partition that has
// something, however much waits.
func (r *Registry) Backlog(ctx context.Context, e Entry) (Backlog, error) {
	b, err := r.backlog(ctx, e)
	if err != nil {
		return b, fmt.Errorf("channel %s: %w", e.Config.Name, err)
	}
	return b, nil
}

func (r *Registry) backlog(ctx context.Context, e Entry) (Backlog, error) {
	stream, err := r.js.Stream(ctx, wire.UpdateStream(r.names, e.Config.Route()))
	if err != nil {
		return Backlog{}, err
	}
	info := stream.CachedInfo()
	b := backlogOf(info)
	// In this order: what is parked or settled meanwhile is counted in the old place.
	if err := r.readProgress(ctx, e, &b); err != nil {
		return b, err
	}
	parked, err := r.parkedStream(ctx)
	if err != nil {
		return b, err
	}
	park, err := r.countParked(ctx, e, parked)
	if err != nil {
		return b, err
	}
	if info.State.Msgs > 0 {
		all := func(ctx context.Context) (map[string]*jetstream.ConsumerInfo, error) { return consumersOf(ctx, stream) }
		if err := r.countWaiting(ctx, e, info, all, &b); err != nil {
			return b, err
		}
	}
	return b, r.addUp(ctx, e, park, &b)
}

// backlogOf returns what a stream says of itself.
func backlogOf(info *jetstream.StreamInfo) Backlog {
	return Backlog{
		Messages: info.State.Msgs, Bytes: info.State.Bytes, Published: info.State.LastSeq,
		MaxBytes: uint64(max(0, info.Config.MaxBytes)), //nolint:gosec // not negative
	}
}

func (r *Registry) readProgress(ctx context.Context, e Entry, b *Backlog) (err error) {
	b.Partitions = make([]PartitionBacklog, e.Config.Partitions)
	for p := range b.Partitions {
		part := &b.Partitions[p]
		if part.Progress, part.Written, err = r.progress.ReadTime(ctx, e.Config.Name, e.Generation, p); err != nil {
			return err
		}
	}
	return nil
}

// addUp adds what is parked and what is still to be looked at, and sums the partitions up.
func (r *Registry) addUp(ctx context.Context, e Entry, park parked, b *Backlog) (err error) {
	if b.Filling, b.FillTotal, err = r.filling(ctx, e); err != nil {
		return err
	}
	if b.Filling > 0 {
		b.Undelivered, b.AtMost = b.Filling, true
	}
	b.Oldest = park.oldest
	for p := range b.Partitions {
		part := &b.Partitions[p]
		if park.updates != nil {
			part.Parked = park.updates[p]
		}
		part.Undelivered += part.Parked
		b.Undelivered += part.Undelivered
		b.Oldest = earlier(b.Oldest, part.Oldest)
	}
	return nil
}

// parked is what of a channel is parked.
type parked struct {
	updates []uint64  // by partition; nil: none
	oldest  time.Time // when the update that was parked first was published
}

func (r *Registry) parkedStream(ctx context.Context) (jetstream.Stream, error) {
	stream, err := r.js.Stream(ctx, wire.ParkedStream(r.names))
	if errors.Is(err, jetstream.ErrStreamNotFound) { // which Backlog says of the channel's stream alone
		return nil, fmt.Errorf("%w: stream %s is missing", events.ErrNotProvisioned, wire.ParkedStream(r.names))
	}
	return stream, err
}

// consumersOf returns the consumers of a stream by their names.
func consumersOf(ctx context.Context, stream jetstream.Stream) (map[string]*jetstream.ConsumerInfo, error) {
	out := map[string]*jetstream.ConsumerInfo{}
	list := stream.ListConsumers(ctx)
	for c := range list.Info() {
		out[c.Name] = c
	}
	return out, list.Err()
}

// countParked counts the parked updates of each partition, and finds the one that was
// parked first.
func (r *Registry) countParked(ctx context.Context, e Entry, stream jetstream.Stream) (parked, error) {
	if stream.CachedInfo().State.Msgs == 0 {
		return parked{}, nil
	}
	filter := wire.ParkedFilter(r.names, e.Config.Name)
	info, err := stream.Info(ctx, jetstream.WithSubjectFilter(filter))
	if err != nil || len(info.State.Subjects) == 0 {
		return parked{}, err
	}
	out := parked{updates: make([]uint64, e.Config.Partitions)}
	for subject, n := range info.State.Subjects {
		out.updates[wire.Partition(wire.KeyOfSubject(subject), e.Config.Partitions)] += n
	}
	msg, err := wire.ReadFromLeader(ctx, r.js, wire.ParkedStream(r.names), wire.MessageQuery{NextOn: filter, Sequence: 1})
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return out, nil // it has just been settled
	}
	if err != nil {
		return parked{}, err
	}
	out.oldest = msg.Time
	if published, err := time.Parse(time.RFC3339Nano, msg.Header.Get(headerParkedSince)); err == nil {
		out.oldest = published
	}
	return out, nil
}

// countWaiting counts what lies in the channel's stream and is not settled. all returns the
// stream's consumers.
func (r *Registry) countWaiting(ctx context.Context, e Entry, info *jetstream.StreamInfo, all func(context.Context) (map[string]*jetstream.ConsumerInfo, error), b *Backlog) error {
	consumers, err := all(ctx)
	if err != nil {
		return err
	}
	for p := range b.Partitions {
		part := &b.Partitions[p]
		c := consumers[part.Progress.Consumer]
		part.Consumer = c != nil
		// Else nobody has settled anything, or all that is settled has left the work queue.
		atMost := !part.Written.IsZero() && (e.Config.Mode == Latest || !part.Progress.Clean)
		if c != nil {
			part.Undelivered = c.NumPending + c.Delivered.Consumer - min(part.Progress.Done, c.Delivered.Consumer)
			if part.Undelivered == 0 {
				continue
			}
		}
		if err := r.countBehind(ctx, e, info, p, part); err != nil {
			return err
		}
		b.AtMost = b.AtMost || atMost && part.Undelivered > 0
	}
	return nil
}

// countBehind finds the oldest of a partition's updates that lie behind its floor, or of
// all that there are, in a work queue. It counts them where the consumer does not: the
// broker looks at every key of the partition for that.
func (r *Registry) countBehind(ctx context.Context, e Entry, info *jetstream.StreamInfo, partition int, b *PartitionBacklog) error {
	from := behindFloor(e, info, &b.Progress)
	if from > info.State.LastSeq {
		return nil
	}
	filter := wire.PartitionUpdates(r.names, e.Config.Route(), partition, e.Config.Partitions)
	if e.Config.Partitions == 1 {
		filter = ">" // the broker knows how many messages a stream has, and counts those that match
	}
	if b.Consumer {
		first, err := wire.ReadFromLeader(ctx, r.js, info.Config.Name, wire.MessageQuery{NextOn: filter, Sequence: from})
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return nil // it has just been settled
		}
		if err == nil {
			b.Oldest = first.Time
		}
		return err
	}
	count, err := wire.CountFrom(ctx, r.js, info.Config.Name, filter, from)
	b.Undelivered, b.Oldest = count.Messages, count.First
	return err
}

// behindFloor returns the sequence of a stream from which on updates of a partition may have no
// outcome, by its floor; the first in a work queue, which settled ones leave.
func behindFloor(e Entry, info *jetstream.StreamInfo, p *Progress) uint64 {
	if e.Config.Mode == Every || p.StreamCreated != info.Created.UnixNano() || p.Floor > info.State.LastSeq {
		return 1
	}
	return p.Floor + 1
}

// earlier returns the earlier of two times of which either may be zero.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// ReadTime returns a partition's progress and when it was written; the zero time if
// nobody has worked on it yet.
func (s *ProgressStore) ReadTime(ctx context.Context, channel string, generation, partition int) (Progress, time.Time, error) {
	p, e, err := s.entry(ctx, progressKey(channel, generation, partition))
	if err != nil || e == nil {
		return p, time.Time{}, err
	}
	return p, e.Created(), nil
}

// String returns how many updates are undelivered, for people.
func (b *Backlog) String() string {
	n := strconv.FormatUint(b.Undelivered, 10)
	if b.AtMost && b.Undelivered > 0 {
		return "at most " + n
	}
	return n
}
