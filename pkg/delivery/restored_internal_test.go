package delivery

import (
	"fmt"
	"reflect"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/delivery/internal/ledger"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// publishRaw stores n messages of a channel, each of a key of its own.
func (b *bench) publishRaw(t *testing.T, channel string, n int) {
	t.Helper()
	for i := range n {
		_, err := b.JS.Publish(t.Context(), b.m.b.names.Update(events.ToChannel(channel), fmt.Sprint("k", i)), nil)
		testkit.Must(t, err)
	}
}

// A ledger record that reflects more than the log has must not hide what comes.
func TestRecordFromALostLogTakesNewOutcomes(t *testing.T) {
	b := newBench(t, acceptAll)
	tn := b.tenure(t, b.run(t, memoryChannel("cal", channels.Latest)))
	tn.fenced(t)
	for name, place := range map[string]wire.LogPosition{
		"later":   tn.outcomes.At(tn.outcomes.End().Seq + 500),
		"another": {Incarnation: tn.b.incarnation + 1, Seq: 1},
	} {
		rec := wire.Record{ChannelID: tn.p.r.entry.ID}
		rec.Add(wire.Entry{Key: name, Settlement: events.Settlement{Version: testkit.Number(1), Outcome: events.Delivered}}, place)
		data, err := rec.Encode()
		testkit.Must(t, err)
		_, err = b.JS.Publish(t.Context(), wire.LedgerSubject(b.m.b.names, "cal", name), data)
		testkit.Must(t, err)
		k := tn.view.Pin(name)
		testkit.Must(t, tn.view.Load(t.Context(), []*ledger.Key{k}))
		before := applied(tn, k, &wire.Entry{Key: name, Settlement: events.Settlement{Version: testkit.Number(2), Outcome: events.Delivered}})
		if before != testkit.Number(1) {
			t.Errorf("%s: version %s was applied before, not 1", name, before)
		}
		tn.view.Read(k, func(rec *wire.Record) {
			if rec.Applied.Version != testkit.Number(2) {
				t.Errorf("%s: version %s is applied, not 2", name, rec.Applied.Version)
			}
		})
	}
}

// What a worker of another incarnation has left counts for nothing but its consumer.
func TestProgressOfAnotherIncarnation(t *testing.T) {
	b := newBench(t, acceptAll)
	names := b.m.b.names
	old := b.m.b.progress
	_, err := old.Write(t.Context(), "cal", 1, 0, channels.Progress{
		Floor: 800, FloorTime: 1, StreamCreated: 2, LogSeq: 700, Consumer: "c", Clean: true, Closed: true, Restored: 3,
	}, 0)
	testkit.Must(t, err)
	_, after, err := wire.RenewIncarnation(t.Context(), b.JS, names)
	testkit.Must(t, err)
	now, err := channels.OpenProgress(t.Context(), b.JS, names)
	testkit.Must(t, err)
	if now.Incarnation() != after {
		t.Errorf("incarnation %s, not %s", now.Incarnation(), after)
	}
	p, revision, err := now.Read(t.Context(), "cal", 1, 0)
	if err != nil || revision == 0 || !reflect.DeepEqual(p, channels.Progress{Format: wire.Format, Consumer: "c"}) {
		t.Errorf("more than the consumer counts: %+v at %d, %v", p, revision, err)
	}
	if _, err := now.Write(t.Context(), "cal", 1, 0, p, revision); err != nil {
		t.Error(err)
	}
	if p, _, err = old.Read(t.Context(), "cal", 1, 0); err != nil || p.Floor != 0 || p.Incarnation == after {
		t.Errorf("read by a worker of the incarnation before: %+v, %v", p, err)
	}
}

// The fence of an incarnation stands in a subject of its own.
func TestFenceOfAnotherIncarnationDoesNotPass(t *testing.T) {
	b := newBench(t, acceptAll)
	r := b.run(t, memoryChannel("cal", channels.Latest))
	tn := b.tenure(t, r)
	tn.fenced(t)
	frozen, before := tn.outcomes.End().Seq, b.m.b.incarnation
	var err error
	_, b.m.b.incarnation, err = wire.RenewIncarnation(t.Context(), b.JS, b.m.b.names)
	testkit.Must(t, err)
	subject := wire.Outcomes(b.m.b.names, "cal", b.m.b.incarnation, 0)
	if subject == wire.Outcomes(b.m.b.names, "cal", before, 0) {
		t.Fatal("both write to", subject)
	}
	// Numbers meet: the later one has written nothing, and expects 0.
	_, err = b.JS.Publish(t.Context(), subject, nil, jetstream.WithExpectLastSequencePerSubject(frozen))
	if !wire.IsWrongSequence(err) {
		t.Errorf("a sequence of another incarnation is taken: %v", err)
	}
}

// The log of all incarnations is what the first owner of a new one begins with.
func TestLogOfEarlierIncarnationsIsRecovered(t *testing.T) {
	b := newBench(t, acceptAll)
	r := b.run(t, memoryChannel("cal", channels.Latest))
	names := b.m.b.names
	group := wire.Group{Format: wire.Format, Channel: "cal", ChannelID: r.entry.ID, Epoch: 1, Number: 1, Worker: "gone", At: timestamp()}
	for i, i0 := range []wire.Incarnation{b.m.b.incarnation - 2, b.m.b.incarnation - 1} {
		group.Entries = []wire.Entry{{Key: "k", Settlement: events.Settlement{Version: testkit.Number(int64(i + 1)), Outcome: events.Delivered, At: timestamp()}}}
		data, err := group.Append(nil)
		testkit.Must(t, err)
		_, err = b.JS.Publish(t.Context(), wire.Outcomes(names, "cal", i0, 0), data)
		testkit.Must(t, err)
	}
	tn := b.tenure(t, r)
	to := &takeover{tn, tn.fenced(t)}
	testkit.Must(t, to.recoverTail(t.Context()))
	tn.view.Read(tn.view.Pin("k"), func(rec *wire.Record) {
		if rec.Applied.Version != testkit.Number(2) {
			t.Errorf("version %s is applied, not 2", rec.Applied.Version)
		}
	})
	if tn.p.restored {
		t.Error("the log of earlier incarnations is taken for a restored one")
	}
}

// A running worker that finds the log shorter than it was says so.
func TestLogThatIsShorterThanItWas(t *testing.T) {
	b := newBench(t, acceptAll)
	b.m.b.logSeen.Note(5)
	b.m.checkLog(t.Context())
	if b.m.b.restoredAt().IsZero() {
		t.Error("no alarm")
	}
	if now, _ := b.m.stats.status(); now.Restored.IsZero() {
		t.Error("the status does not say so")
	}
}

// applied applies an entry as the next group of the log.
func applied(tn *tenure, k *ledger.Key, e *wire.Entry) (before versioning.Version) {
	tn.view.Group(tn.outcomes.At(tn.outcomes.End().Seq+1), func(g ledger.Group) { before = g.Apply(k, e) })
	return before
}
