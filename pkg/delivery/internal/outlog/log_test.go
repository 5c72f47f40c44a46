package outlog_test

import (
	"context"
	"errors"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/hms-utl/extsync/internal/natsserver/natstest"
	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/delivery/internal/outlog"
	"github.com/hms-utl/extsync/pkg/events"
)

// A bench is a provisioned broker.
type bench struct {
	*natstest.Broker
	o outlog.Options
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{Broker: natstest.Run(t)}
	names := events.DefaultNames()
	testkit.Must(t, channels.Provision(t.Context(), b.JS, names, channels.Storage{}))
	stream, err := b.JS.Stream(t.Context(), wire.OutcomeStream(names))
	testkit.Must(t, err)
	incarnation, err := wire.ReadIncarnation(t.Context(), b.JS, names)
	testkit.Must(t, err)
	b.o = outlog.Options{
		JS: b.JS, Stream: stream, Names: names, Channel: "cal", ID: "id", Incarnation: incarnation,
		Worker: "w", Epoch: 1, Attempt: 1, Seen: &outlog.Seen{}, Logger: zerolog.Nop(),
	}
	return b
}

// log returns the log of a worker.
func (b *bench) log(worker string, change ...func(*outlog.Options)) *outlog.Log {
	o := b.o
	o.Worker, o.Seen = worker, &outlog.Seen{}
	for _, f := range change {
		f(&o)
	}
	return outlog.New(o)
}

func delivered(version int64) wire.Entry {
	return wire.Entry{Key: "k", Settlement: events.Settlement{Version: testkit.Number(version), Outcome: events.Delivered}}
}

// versions returns those of the groups behind a sequence.
func versions(t *testing.T, l *outlog.Log, after uint64) (out []string) {
	t.Helper()
	testkit.Must(t, l.Tail(t.Context(), after, func(_ wire.LogPosition, entries []wire.Entry) error {
		for _, e := range entries {
			out = append(out, e.Version.String())
		}
		return nil
	}))
	return out
}

// Of two owners only one can log: the second one's mark ends the first one's part.
func TestFenceEndsThePredecessor(t *testing.T) {
	b := newBench(t)
	first, second := b.log("first"), b.log("second")
	testkit.Must(t, first.Fence(t.Context()))
	at, err := first.Append(t.Context(), []wire.Entry{delivered(1)})
	testkit.Must(t, err)
	if at != first.End() || at.Seq != 2 {
		t.Errorf("logged at %+v, the end is %+v; want both behind the mark", at, first.End())
	}
	testkit.Must(t, second.Fence(t.Context()))
	if _, err := first.Append(t.Context(), []wire.Entry{delivered(2)}); !errors.Is(err, outlog.ErrFenced) {
		t.Errorf("the first owner logs on: %v, want %v", err, outlog.ErrFenced)
	}
	if got := versions(t, second, 0); len(got) != 1 || got[0] != "1" {
		t.Errorf("the second owner finds %v, want 1 alone", got)
	}
	if got := versions(t, second, at.Seq); len(got) != 0 {
		t.Errorf("behind what it knows it finds %v, want nothing", got)
	}
	if _, err := second.Append(t.Context(), []wire.Entry{delivered(2)}); err != nil {
		t.Errorf("the second owner cannot log: %v", err)
	}
}

// The same worker is another owner under another lease, or in another tenure.
func TestFenceEndsOwnersOfTheSameName(t *testing.T) {
	for name, change := range map[string]func(*outlog.Options){
		"epoch":   func(o *outlog.Options) { o.Epoch++ },
		"attempt": func(o *outlog.Options) { o.Attempt++ },
	} {
		b := newBench(t)
		before, after := b.log("w"), b.log("w", change)
		testkit.Must(t, before.Fence(t.Context()))
		testkit.Must(t, after.Fence(t.Context()))
		if _, err := before.Append(t.Context(), nil); !errors.Is(err, outlog.ErrFenced) {
			t.Errorf("another %s: %v, want %v", name, err, outlog.ErrFenced)
		}
	}
}

// Groups of a former channel of the name, and of other partitions, are nobody's tail.
func TestTailIsOfTheChannelAndThePartition(t *testing.T) {
	b := newBench(t)
	for _, change := range []func(*outlog.Options){
		func(o *outlog.Options) { o.ID = "former" },
		func(o *outlog.Options) { o.Partition = 1 },
	} {
		other := b.log("other", change)
		testkit.Must(t, other.Fence(t.Context()))
		_, err := other.Append(t.Context(), []wire.Entry{delivered(1)})
		testkit.Must(t, err)
	}
	l := b.log("w")
	testkit.Must(t, l.Fence(t.Context()))
	if got := versions(t, l, 0); len(got) != 0 {
		t.Errorf("%v, want nothing", got)
	}
}

// The broker is away when a group is to be written: it is written once, when it is back.
func TestAppendWaitsForTheBroker(t *testing.T) {
	b := newBench(t)
	conn := b.Connect(t) // the bench's own ends with the server
	reconnecting := func(o *outlog.Options) {
		var err error
		o.JS, err = jetstream.New(conn)
		testkit.Must(t, err)
		o.Stream, err = o.JS.Stream(t.Context(), wire.OutcomeStream(o.Names))
		testkit.Must(t, err)
	}
	l := b.log("w", reconnecting)
	testkit.Must(t, l.Fence(t.Context()))
	b.Stop(t)
	ctx, cancel := context.WithTimeout(t.Context(), testkit.Patience)
	defer cancel()
	done := make(chan error, 1)
	go func() {
		_, err := l.Append(ctx, []wire.Entry{delivered(1)})
		done <- err
	}()
	b.Start(t)
	testkit.Must(t, <-done)
	next := b.log("next", reconnecting)
	testkit.Must(t, next.Fence(t.Context()))
	if got := versions(t, next, 0); len(got) != 1 {
		t.Errorf("it was written %d times, want once", len(got))
	}
}

func TestProgressIsOfOneOwner(t *testing.T) {
	b := newBench(t)
	store, err := channels.OpenProgress(t.Context(), b.JS, b.o.Names)
	testkit.Must(t, err)
	progress := func(worker string) *outlog.Progress {
		return outlog.NewProgress(outlog.ProgressOptions{Store: store, Channel: "cal", Generation: 1, Worker: worker, Epoch: 1})
	}
	first, second := progress("first"), progress("second")
	left, err := first.Read(t.Context())
	testkit.Must(t, err)
	if !left.Clean || left.Floor != 0 {
		t.Errorf("before the first owner: %+v, want it clean and at 0", left)
	}
	floor := func(n uint64) func(*channels.Progress) { return func(p *channels.Progress) { p.Floor = n } }
	testkit.Must(t, first.Change(t.Context(), floor(5)))
	left, err = second.Read(t.Context())
	testkit.Must(t, err)
	if left.Floor != 5 || left.Worker != "first" {
		t.Errorf("the second owner finds %+v, want floor 5 of the first", left)
	}
	testkit.Must(t, second.Change(t.Context(), floor(6)))
	if err := first.Change(t.Context(), floor(7)); !errors.Is(err, channels.ErrProgressChanged) {
		t.Errorf("the first owner goes on: %v, want %v", err, channels.ErrProgressChanged)
	}
	if now := second.Now(); now.Floor != 6 || now.Worker != "second" {
		t.Errorf("now %+v, want floor 6 of the second", now)
	}
	testkit.Must(t, second.Change(t.Context(), func(p *channels.Progress) { p.Closed = true }))
	if _, err := progress("third").Read(t.Context()); !errors.Is(err, outlog.ErrGenerationClosed) {
		t.Errorf("%v, want %v", err, outlog.ErrGenerationClosed)
	}
}
