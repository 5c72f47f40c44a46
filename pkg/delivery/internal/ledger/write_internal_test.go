package ledger

import (
	"context"
	"errors"
	"testing"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// Progress must not say that the ledger has what nobody has confirmed.
func TestWritingThatWasCutShortIsAnError(t *testing.T) {
	v, _ := newView(t)
	k := v.dirtyKey(t)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if n, err := v.Write(ended); n != 1 || !errors.Is(err, context.Canceled) {
		t.Errorf("%d records and error %v, not 1 and a cancelled context", n, err)
	}
	v.locked(func() {
		if !k.dirty || k.pins != 0 {
			t.Errorf("dirty %v with %d pins, not true with 0", k.dirty, k.pins)
		}
	})
}

// The answers to what was on its way never come once the connection was cut: the
// records are written again, at once and not when patience is over.
func TestRecordsOnTheirWayWhenTheConnectionBreaksAreWrittenAgain(t *testing.T) {
	v, b := newView(t)
	k := v.dirtyKey(t)
	w, err := v.newWriter(1)
	testkit.Must(t, err)
	testkit.Must(t, w.send([]*Key{k}))
	if _, err := w.burst.Next(t.Context()); err != nil { // the answer is lost
		t.Fatal(err)
	}
	testkit.Must(t, b.JS.Conn().ForceReconnect())
	if err := w.await(t.Context()); !wire.IsUnavailable(err) {
		t.Fatalf("the error is %v, not that the broker is away", err)
	}
	w.close()
	testkit.Eventually(t, "the record to be in the ledger", func() bool {
		if _, err := v.Write(t.Context()); err != nil {
			return false
		}
		_, err := v.o.Ledger.GetOf(t.Context(), "cal", v.o.ID, "k")
		return err == nil
	})
	v.locked(func() {
		if k.dirty || k.pins != 0 {
			t.Errorf("dirty %v with %d pins, not false with 0", k.dirty, k.pins)
		}
	})
}

// A record is being written when its key is forgotten: the answer must find it,
// and a later reader must not find an older one.
func TestRecordStaysInMemoryWhileItIsWritten(t *testing.T) {
	v, _ := newView(t)
	v.o.Shared.records.Store(recordsMost) // so many that what nobody uses is forgotten
	k := v.dirtyKey(t)
	w, err := v.newWriter(1)
	testkit.Must(t, err)
	defer w.close()
	testkit.Must(t, w.send([]*Key{k}))
	v.Unpin(v.Pin("k")) // a lane came and went meanwhile
	if v.keys["k"] == nil {
		t.Fatal("the record was forgotten before the broker had it")
	}
	testkit.Must(t, w.await(t.Context()))
	if v.keys["k"] != nil {
		t.Fatal("the record is not forgotten although the broker has it")
	}
}

// A partition that ends gives back what it took of the memory that all share,
// whether its records were written or not.
func TestClosedViewLeavesNothingCounted(t *testing.T) {
	v, _ := newView(t)
	v.dirtyKey(t)
	other := v.Pin("other")
	testkit.Must(t, v.Load(t.Context(), []*Key{other}))
	v.Unpin(other)
	held := v.Pin("held")
	testkit.Must(t, v.Load(t.Context(), []*Key{held}))
	v.Close()
	v.Unpin(held)
	if n := v.o.Shared.records.Load(); n != 0 || v.o.Shared.views.Load() != 0 {
		t.Errorf("%d records of %d views are counted, not 0 of 0", n, v.o.Shared.views.Load())
	}
}

// Two versions of a key in one group, as when one overtakes another in its lane. The
// ledger was written between them: its record had half of the group under the group's
// place, and the next owner of the partition took it for the whole.
func TestGroupIsWrittenWholeOrNotAtAll(t *testing.T) {
	v, _ := newView(t)
	k := v.Pin("k")
	testkit.Must(t, v.Load(t.Context(), []*Key{k}))
	two := delivered("k", 2)
	two.Outcome = events.Superseded
	one := delivered("k", 1)
	wrote := make(chan error, 1)
	v.Group(place(7), func(g Group) {
		g.Apply(k, two)
		writing := make(chan struct{})
		go func() {
			close(writing)
			_, err := v.Write(t.Context())
			wrote <- err
		}()
		<-writing
		g.Apply(k, one)
	})
	testkit.Must(t, <-wrote)
	rec, err := v.o.Ledger.GetOf(t.Context(), "cal", v.o.ID, "k")
	testkit.Must(t, err)
	if _, ok := rec.Find(versioning.Tag{Version: two.Version, Digest: two.Digest}); !ok || rec.Applied.Version != one.Version {
		t.Errorf("the ledger has half of the group: %+v", rec)
	}
}
