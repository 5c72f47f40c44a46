package delivery

import (
	"context"
	"errors"
	"testing"

	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/events"
)

// dirtyKey returns the state of a key whose record is ahead of the bucket.
func (b *bench) dirtyKey(t *testing.T) (*tenure, *keyState) {
	t.Helper()
	tn := b.tenure(t, b.run(t, memoryChannel("cal", channels.Every)))
	var s *keyState
	tn.locked(func() { s = tn.view.pin("k") })
	must(t, tn.view.load(t.Context(), []*keyState{s}))
	tn.locked(func() {
		tn.view.add(s, &events.Entry{Key: "k", Settlement: events.Settlement{Version: number(1), Outcome: events.Delivered}}, tn.at(1))
		tn.view.unpin(s)
	})
	return tn, s
}

// Progress must not say that the ledger has what nobody has confirmed.
func TestWritingThatWasCutShortIsAnError(t *testing.T) {
	tn, s := newBench(t, acceptAll).dirtyKey(t)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := tn.writeRecords(ended, []*keyState{s}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	tn.locked(func() {
		if !s.dirty || s.pins != 0 {
			t.Errorf("dirty %v, pins %d", s.dirty, s.pins)
		}
	})
}

// The answers to what was on its way never come once the connection was cut: the
// records are written again, at once and not when patience is over.
func TestRecordsOnTheirWayWhenTheConnectionBreaksAreWrittenAgain(t *testing.T) {
	b := newBench(t, acceptAll)
	tn, s := b.dirtyKey(t)
	w, err := tn.newWriter(1)
	must(t, err)
	must(t, w.send([]*keyState{s}))
	if _, err := w.burst.Next(t.Context()); err != nil { // the answer is lost
		t.Fatal(err)
	}
	must(t, b.JS.Conn().ForceReconnect())
	if err := w.await(t.Context()); !events.IsUnavailable(err) {
		t.Fatalf("%v", err)
	}
	w.close()
	eventually(t, "the record to be in the ledger", func() bool {
		if err := tn.writeRecords(t.Context(), []*keyState{s}); err != nil {
			return false
		}
		_, _, err := tn.b.ledger.GetEncoded(t.Context(), "cal", "k")
		return err == nil
	})
	tn.locked(func() {
		if s.dirty || s.pins != 0 {
			t.Errorf("dirty %v, pins %d", s.dirty, s.pins)
		}
	})
}
