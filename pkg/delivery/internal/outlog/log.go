package outlog

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/hms-utl/extsync/internal/sleep"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/events"
)

// ErrFenced says that another worker has committed to the partition's part of the log:
// the partition is its.
var ErrFenced = errors.New("another worker has taken the partition over")

const (
	publishPatience = 2 * time.Second
	readPatience    = 5 * time.Second
	// retryFirst and retryMost are how far apart tries to write a group are.
	retryFirst, retryMost = 50 * time.Millisecond, 2 * time.Second
	// fenceRetry is after how long a mark is tried again that a predecessor's commit
	// came before.
	fenceRetry = 10 * time.Millisecond
)

// Seen is the highest sequence of the outcome log that a worker was given, of all its
// partitions. The zero value is ready; it is safe for concurrent use.
type Seen struct{ last atomic.Uint64 }

// Note notes a sequence.
func (s *Seen) Note(seq uint64) {
	for last := s.last.Load(); last < seq && !s.last.CompareAndSwap(last, seq); last = s.last.Load() {
	}
}

// Last returns the highest sequence that was noted.
func (s *Seen) Last() uint64 { return s.last.Load() }

// Options say whose part of the log it is, and who writes.
type Options struct {
	JS          jetstream.JetStream
	Stream      jetstream.Stream // the outcome log
	Names       events.Names
	Channel, ID string // of the channel
	Partition   int
	Incarnation wire.Incarnation
	Content     wire.ContentID // of the channel's configuration
	Worker      string
	Epoch       uint64 // of the lease
	Attempt     uint64 // the tenure's number under the lease, from 1: with the epoch never used twice
	Seen        *Seen  // of the worker
	Logger      zerolog.Logger
}

// A Log is a partition's part of the outcome log for one owner. Fence, Tail and Append
// are for one goroutine at a time; End may be called at any time.
type Log struct {
	o       Options
	subject string
	// end is the sequence of the partition's last record: what the next must expect.
	end    atomic.Uint64
	number uint64 // of the group that was written last
	buffer []byte // memory for the next one
}

// New returns a log that was not fenced yet.
func New(o Options) *Log {
	return &Log{o: o, subject: wire.Outcomes(o.Names, o.Channel, o.Incarnation, o.Partition)}
}

// End returns the place of the partition's last record. What a ledger's record says to
// reflect beyond it was in a log that the broker no longer has.
func (l *Log) End() wire.LogPosition { return l.At(l.end.Load()) }

// At returns the place of a record of this incarnation.
func (l *Log) At(seq uint64) wire.LogPosition {
	return wire.LogPosition{Incarnation: l.o.Incarnation, Seq: seq}
}

// Fence writes an empty group: from then on a predecessor's commit fails.
func (l *Log) Fence(ctx context.Context) error {
	for {
		last, _, err := l.last(ctx)
		if err != nil {
			return err
		}
		l.end.Store(last)
		_, err = l.Append(ctx, nil)
		if !errors.Is(err, ErrFenced) {
			return err
		}
		// The predecessor committed between our read and our write.
		if !sleep.For(ctx, fenceRetry) {
			return context.Cause(ctx)
		}
	}
}

// Append writes one record behind the last one and returns its place. It tries as long
// as ctx lasts while the broker is away or full; ErrFenced means that somebody else has
// written.
func (l *Log) Append(ctx context.Context, entries []wire.Entry) (wire.LogPosition, error) {
	l.number++
	group := wire.Group{
		Format: wire.Format, Channel: l.o.Channel, ChannelID: l.o.ID, Partition: l.o.Partition,
		Epoch: l.o.Epoch, Number: l.groupNumber(), Worker: l.o.Worker, At: time.Now().UTC().Truncate(time.Millisecond), Content: l.o.Content, Entries: entries,
	}
	data, err := group.Append(l.buffer[:0])
	if err != nil {
		return wire.LogPosition{}, err
	}
	l.buffer = data
	for wait := retryFirst; ; wait = min(2*wait, retryMost) {
		seq, err := l.publish(ctx, data)
		if err == nil {
			return l.atEnd(seq), nil
		}
		if wire.IsWrongSequence(err) || wire.IsUnavailable(err) {
			seq, stored, rerr := l.wasStored(ctx)
			if rerr == nil && stored {
				return l.atEnd(seq), nil
			}
			if rerr != nil && !wire.IsUnavailable(rerr) {
				return wire.LogPosition{}, rerr
			}
		} else if !wire.IsFull(err) {
			return wire.LogPosition{}, fmt.Errorf("outcome log: %w", err)
		}
		l.o.Logger.Warn().Err(err).Msg("outcome log; nothing is settled until it can be written")
		if !sleep.For(ctx, wait) {
			return wire.LogPosition{}, context.Cause(ctx)
		}
	}
}

// groupNumber tells a group from all others of its worker.
func (l *Log) groupNumber() uint64 { return l.o.Attempt<<32 | l.number }

// atEnd notes the sequence of the partition's last record, and returns its place.
func (l *Log) atEnd(seq uint64) wire.LogPosition {
	l.end.Store(seq)
	l.o.Seen.Note(seq)
	return l.At(seq)
}

func (l *Log) publish(ctx context.Context, data []byte) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, publishPatience)
	defer cancel()
	ack, err := l.o.JS.Publish(ctx, l.subject, data, jetstream.WithExpectLastSequencePerSubject(l.end.Load()))
	if err != nil {
		return 0, err
	}
	return ack.Sequence, nil
}

// wasStored finds out whether a group whose publish failed is in the log all the
// same. ErrFenced means that another one is there.
func (l *Log) wasStored(ctx context.Context) (uint64, bool, error) {
	seq, g, err := l.last(ctx)
	switch {
	case err != nil:
		return 0, false, err
	case seq == l.end.Load():
		return 0, false, nil
	case seq == 0: // all of it has reached its age
		l.end.Store(0)
		return 0, false, nil
	case g.Worker == l.o.Worker && g.Epoch == l.o.Epoch && g.Number == l.groupNumber():
		return seq, true, nil
	default:
		return 0, false, ErrFenced
	}
}

// last reads the partition's last record from the log's leader; sequence 0 if there is
// none.
func (l *Log) last(ctx context.Context) (uint64, wire.Group, error) {
	ctx, cancel := context.WithTimeout(ctx, readPatience)
	defer cancel()
	msg, err := l.o.Stream.GetLastMsgForSubject(ctx, l.subject)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return 0, wire.Group{}, nil
	}
	if err != nil {
		return 0, wire.Group{}, fmt.Errorf("read the outcome log: %w", err)
	}
	g, err := wire.DecodeGroup(msg.Data)
	return msg.Sequence, g, err
}

// Tail calls each with every group behind a sequence, up to our own mark, of all
// incarnations: the first owner in a new one goes through all of the log, because a
// ledger that was restored may be older than the log that was. An error of each ends it.
func (l *Log) Tail(ctx context.Context, after uint64, each func(at wire.LogPosition, entries []wire.Entry) error) error {
	all := wire.PartitionOutcomes(l.o.Names, l.o.Channel, l.o.Partition)
	end := l.end.Load()
	for from := after + 1; from < end; {
		msg, err := l.o.Stream.GetMsg(ctx, from, jetstream.WithGetMsgSubject(all))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read the log's tail: %w", err)
		}
		if msg.Sequence >= end { // our own mark
			return nil
		}
		group, err := wire.DecodeGroup(msg.Data)
		if err != nil {
			return err
		}
		from = msg.Sequence + 1
		if group.ChannelID != l.o.ID { // of a former channel of the name
			continue
		}
		at, err := wire.OutcomePosition(l.o.Names, msg.Subject, msg.Sequence)
		if err != nil {
			return err
		}
		if err := each(at, group.Entries); err != nil {
			return err
		}
	}
	return nil
}
