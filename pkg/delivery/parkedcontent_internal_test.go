package delivery

import (
	"errors"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/delivery/internal/lanes"
	"github.com/hms-utl/extsync/pkg/delivery/internal/parking"
)

// parkedTenure returns a tenure that holds updates as if the parked stream had them.
func parkedTenure(t *testing.T, items ...*lanes.Item) *tenure {
	t.Helper()
	b := newBench(t, acceptAll)
	tn := b.tenure(t, b.run(t, memoryChannel("cal", channels.Every)))
	for _, it := range items {
		it.Parked, it.Update.Payload = it.Seq, nil
		key := tn.view.Pin(it.Update.Key)
		tn.at(func(m *lanes.Lanes) { m.Recovered(it, key) })
	}
	return tn
}

// readAs does what loadContent does when the stream answers.
func readAs(it *lanes.Item, payload string) {
	it.Rim.Raw = &jetstream.RawStreamMsg{Data: []byte(payload)}
	it.Update.Payload = it.Rim.Raw.Data
}

// unloaded unloads updates, as the lanes want it after an attempt.
func (t *tenure) unloaded(items ...*lanes.Item) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, it := range items {
		t.contents.unload(it, t.lanes.Holds(it))
	}
}

func TestPayloadsOfParkedKeysAreKeptWithinABound(t *testing.T) {
	first, second := itemOf("a", 1), itemOf("b", 2)
	tn := parkedTenure(t, first, second)
	readAs(first, "the first")
	readAs(second, "the second")
	tn.b.kept.Store(keptInMemory - int64(len("the first")) - keptBesides)
	tn.unloaded(first, first, second) // one of them again, after an attempt that had no need to read
	if string(first.Update.Payload) != "the first" || first.Rim.Raw != nil {
		t.Errorf("the first payload is %q in memory, its message %v", first.Update.Payload, first.Rim.Raw)
	}
	if second.Update.Payload != nil || second.Rim.Raw != nil {
		t.Errorf("a payload is kept beyond the bound")
	}
	tn.settle(first)
	if first.Update.Payload != nil || tn.b.kept.Load() != keptInMemory-int64(len("the first"))-keptBesides {
		t.Errorf("%d bytes are kept once the key is settled", tn.b.kept.Load())
	}
	readAs(second, "the second")
	tn.unloaded(second)
	tn.abandon()
	if got := tn.b.kept.Load(); got != keptInMemory-int64(len("the first"))-keptBesides {
		t.Errorf("%d bytes are kept after the tenure", got)
	}
}

// An attempt that could not read the payload has none to keep: the next one would
// deliver an empty update.
func TestPayloadThatCouldNotBeReadIsNotKept(t *testing.T) {
	it := itemOf("a", 1)
	tn := parkedTenure(t, it)
	tn.unloaded(it)
	if err := tn.contents.loadPayload(t.Context(), it); !errors.Is(err, parking.ErrLost) {
		t.Errorf("%v instead of a look into the stream", err)
	}
	if got := tn.b.kept.Load(); got != 0 {
		t.Errorf("%d bytes are kept", got)
	}
}

// What a call that outlives its tenure gives back is not kept.
func TestPayloadIsNotKeptAfterTheTenure(t *testing.T) {
	it := itemOf("a", 1)
	tn := parkedTenure(t, it)
	readAs(it, "late")
	tn.abandon()
	tn.unloaded(it)
	if got := tn.b.kept.Load(); got != 0 || it.Update.Payload != nil {
		t.Errorf("%d bytes are kept, the payload %q", got, it.Update.Payload)
	}
}

// An update that the client hides was read from the channel's stream, once: it
// needs its content for the dead letter.
func TestContentOfAnUpdateThatIsNotParkedStays(t *testing.T) {
	tn, it := parkedTenure(t), itemOf("a", 1)
	readAs(it, "hidden")
	tn.unloaded(it)
	if it.Rim.Raw == nil {
		t.Error("it is gone")
	}
}
