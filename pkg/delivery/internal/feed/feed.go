package feed

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/hms-utl/extsync/internal/sleep"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/events"
)

var (
	// ErrMissing says that messages which the broker has sent did not come.
	ErrMissing = errors.New("messages of the consumer are missing")
	// ErrReplaced says that the stream was deleted and made again: what was known of it is
	// void.
	ErrReplaced = errors.New("the stream of updates was deleted and made again")
	// ErrOlder says that the broker holds less than came from it before.
	ErrOlder = errors.New("the broker's files are older than they were")
)

// A Floor is up to where all updates of a partition are settled.
type Floor struct {
	Seq uint64
	// Stored is when the newest of them was stored, in nanoseconds since the Unix epoch; 0
	// if that is not known.
	Stored int64
	// Last is the highest sequence that came; Seq if none has since.
	Last uint64
}

// A Message is one that came.
type Message struct {
	jetstream.Msg
	Seq    uint64 // in the stream
	Stored time.Time
}

// A Taker takes what comes. Its methods are called by the goroutine of Run.
type Taker interface {
	// Take takes a message in, and returns when there is room for the next.
	Take(ctx context.Context, m Message) error
	// TakeHidden settles a message that clients do not hand out; nil: there is none.
	TakeHidden(ctx context.Context, m *jetstream.RawStreamMsg) error
	// Floor returns what is settled, and what has come.
	Floor() Floor
	// Anew says that another consumer begins at the floor: all above comes again.
	Anew()
	// Slow reports whether nothing can be delivered at the moment, so that updates may as
	// well stay at the broker.
	Slow() bool
}

// A Cursor remembers the consumer that was made last, by whomever, for the next owner.
type Cursor interface {
	// Consumer returns its name; "" if there was none.
	Consumer() string
	// Move notes, before it is made, that a consumer begins at a floor in the stream that
	// was created at a time. It fails when the partition is somebody else's.
	Move(ctx context.Context, floor Floor, created int64, consumer string) error
}

// Options say whose updates to bring.
type Options struct {
	JS         jetstream.JetStream
	Names      events.Names
	Route      events.Route // from where the channel reads
	Partition  int
	Partitions int
	// Queue: the stream is a work queue, whose messages are acked. MaxAckPending bounds those
	// that are not yet.
	Queue         bool
	MaxAckPending int
	// Prefix begins the names of consumers: it is used by nobody else, ever.
	Prefix string
	Cursor Cursor
	// Feeds returns how many there are in the worker.
	Feeds func() int
	// HiddenCheck is how long the partition may be quiet until it is looked whether that is
	// because of a message that clients do not hand out.
	HiddenCheck time.Duration
	// Older is told that the broker was restored, and what shows it.
	Older  func(found string)
	Logger zerolog.Logger
}

// A Feed brings the updates of a partition. Open, Run and Renew are for one goroutine at
// a time.
type Feed struct {
	o        Options
	to       Taker
	stream   string
	created  int64 // when the stream was, in nanoseconds since the Unix epoch
	since    uint64
	consumer jetstream.Consumer
	made     int // consumers so far
	gap      gap

	mu sync.Mutex
	// check says that Run shall look after the consumer now, endRound makes it come back
	// for that.
	check    bool
	endRound context.CancelFunc
}

// New returns a feed that is not open.
func New(o Options, to Taker) *Feed {
	return &Feed{o: o, to: to, stream: wire.UpdateStream(o.Names, o.Route)}
}

// Created returns when the stream was created, in nanoseconds since the Unix epoch.
func (f *Feed) Created() int64 { return f.created }

// Since returns the last sequence that the stream had given at Look.
func (f *Feed) Since() uint64 { return f.since }

// Look binds the feed to the stream as it is now, and returns the floor from which to go
// on: zero in another stream than the one that was created at a time. found says what
// shows that the floor is not of this stream; "" if nothing does.
func (f *Feed) Look(ctx context.Context, floor Floor, created int64) (from Floor, found string, err error) {
	stream, err := f.bind(ctx)
	if err != nil {
		return Floor{}, "", err
	}
	info := stream.CachedInfo()
	f.created, f.since = info.Created.UnixNano(), info.State.LastSeq
	if created != f.created { // another stream
		return Floor{}, "", nil
	}
	found, err = f.contradiction(ctx, info, floor)
	return floor, found, err
}

func (f *Feed) bind(ctx context.Context) (jetstream.Stream, error) {
	stream, err := f.o.JS.Stream(ctx, f.stream)
	if err != nil {
		return nil, fmt.Errorf("stream of updates: %w", err)
	}
	return stream, nil
}

// same returns the stream, or ErrReplaced if it is another one than at Look.
func (f *Feed) same(ctx context.Context) (jetstream.Stream, error) {
	stream, err := f.bind(ctx)
	if err == nil && f.created != stream.CachedInfo().Created.UnixNano() {
		return nil, ErrReplaced
	}
	return stream, err
}

// Open makes the first consumer, at a floor.
func (f *Feed) Open(ctx context.Context, floor Floor) error { return f.replace(ctx, floor) }

const (
	// backoffFirst is how long nothing is pulled when the consumer is lost; up to
	// backoffMost where the next one would be lost for a reason that is known.
	backoffFirst, backoffMost = 100 * time.Millisecond, 5 * time.Second
	renewFirst, renewMost     = 100 * time.Millisecond, 5 * time.Second
)

// Run gives updates to the taker until ctx ends. When the consumer is lost it makes
// another at the floor, and returns why that cannot be.
func (f *Feed) Run(ctx context.Context) error {
	wait := backoffFirst
	for ctx.Err() == nil {
		err := f.pull(ctx, f.consumer)
		if ctx.Err() != nil {
			break
		}
		f.o.Logger.Info().Err(err).Msg("consumer lost; making another")
		if _, err := f.LookHidden(ctx); err == nil {
			wait = backoffFirst
		} else if wait = min(2*wait, backoffMost); ctx.Err() == nil {
			f.o.Logger.Warn().Err(err).Msg("the next consumer may be lost the same way")
		}
		if !sleep.For(ctx, wait) { // every loop backs off
			break
		}
		if err := f.Renew(ctx); err != nil && ctx.Err() == nil {
			return err
		}
	}
	return nil
}

// Renew replaces a lost consumer. What is held comes again and is recognised by its
// place.
func (f *Feed) Renew(ctx context.Context) error {
	floor := f.to.Floor()
	for wait := renewFirst; ; wait = min(2*wait, renewMost) {
		err := f.verify(ctx, floor)
		if err == nil {
			err = f.replace(ctx, floor)
		}
		if err == nil || !wire.IsUnavailable(err) {
			return err
		}
		f.o.Logger.Warn().Err(err).Msg("make another consumer")
		if !sleep.For(ctx, wait) {
			return context.Cause(ctx)
		}
	}
}

// Check has Run look after the consumer now: one in memory is gone when the broker was
// started again, and heartbeats tell that late.
func (f *Feed) Check() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.check = true
	if f.endRound != nil {
		f.endRound()
	}
}

// setEndRound notes how to end the round of pull that begins; nil: it is over.
func (f *Feed) setEndRound(end context.CancelFunc) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.endRound = end; f.check && end != nil {
		end()
	}
}

// takeCheck reports whether Check was called since it was asked last.
func (f *Feed) takeCheck() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	asked := f.check
	f.check = false
	return asked
}
