package channels

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/events"
)

// Lists begin behind the floor, but not where what lies below it may have no outcome: parked
// updates, a floor of another stream or of a broker that came back older, and what a channel is
// filled with. A count of what is left to fill missed what was in hand.
func TestUnsettled(t *testing.T) {
	r, _ := withTopic(t)
	ctx := t.Context()
	e, err := r.Put(ctx, Config{Name: "cal", Connector: Connector{Kind: "memory"}}, 0)
	testkit.Must(t, err)
	const stored = 5
	for _, key := range []string{"a", "b", "c", "d", "e"} {
		_, err := r.js.Publish(ctx, r.names.Update(e.Config.Route(), key), nil)
		testkit.Must(t, err)
	}
	stream, err := r.js.Stream(ctx, wire.UpdateStream(r.names, e.Config.Route()))
	testkit.Must(t, err)
	third, err := stream.GetMsg(ctx, 3)
	testkit.Must(t, err)
	expect := func(what string, e Entry, want uint64) {
		t.Helper()
		if got, err := r.Unsettled(ctx, e); err != nil || got != want {
			t.Errorf("%s: from %d, not %d: %v", what, got, want, err)
		}
	}
	expect("nobody has worked on it", e, 1)
	good := Progress{Floor: 3, StreamCreated: stream.CachedInfo().Created.UnixNano(), FloorTime: third.Time.UnixNano()}
	revision := uint64(0)
	write := func(change func(p *Progress)) {
		t.Helper()
		p := good
		change(&p)
		revision, err = r.progress.Write(ctx, "cal", e.Generation, 0, p, revision)
		testkit.Must(t, err)
	}
	write(func(*Progress) {})
	expect("three are settled", e, 4)
	write(func(p *Progress) { p.Floor = stored + 1 })
	expect("the stream ends before the floor", e, 1)
	write(func(p *Progress) { p.StreamCreated-- })
	expect("the floor is of another stream", e, 1)
	write(func(p *Progress) { p.FloorTime -= int64(time.Second) })
	expect("what lies below the floor came after it", e, 1)
	write(func(p *Progress) { p.FloorTime = 0 })
	expect("the floor has no time", e, 4)
	_, err = r.js.Publish(ctx, wire.ParkedUpdate(r.names, "cal", "b"), nil)
	testkit.Must(t, err)
	expect("one is parked", e, 1)

	_, err = r.js.Publish(ctx, r.names.Update(events.ToTopic("policies"), "p"), nil)
	testkit.Must(t, err)
	reading, err := r.Put(ctx, reader("portal", ""), 0)
	testkit.Must(t, err)
	expect("it is being filled", reading, 1)
	looked := ResyncProgress{ID: reading.Fill, Delivered: 1}
	testkit.Must(t, r.progress.WriteResyncProgress(ctx, "portal", reading.Generation, 0, looked))
	expect("all that there was is looked at, and one in hand", reading, 1)
	if left, _, err := r.filling(ctx, reading); left == 0 || err != nil {
		t.Errorf("while it is filled nothing is left: %v", err)
	}
	looked.Done = true
	testkit.Must(t, r.progress.WriteResyncProgress(ctx, "portal", reading.Generation, 0, looked))
	expect("it is full", reading, 2)
	s, err := r.js.Stream(ctx, wire.KVStream(wire.ProgressBucket(r.names)))
	testkit.Must(t, err)
	testkit.Must(t, s.Purge(ctx, jetstream.WithPurgeSubject(wire.KVSubject(wire.ProgressBucket(r.names), resyncKey("portal")))))
	expect("nobody has recorded that it is to be filled", reading, 1)
}
