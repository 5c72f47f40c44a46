package delivery

import (
	"errors"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/delivery/internal/parking"
)

// parkedTenure returns a tenure that holds updates as if the parked stream had them.
func parkedTenure(t *testing.T, items ...*item) *tenure {
	t.Helper()
	b := newBench(t, acceptAll)
	tn := b.tenure(t, b.run(t, memoryChannel("cal", channels.Every)))
	tn.locked(func() {
		for _, it := range items {
			it.parked, it.u.Payload = it.seq, nil
			tn.held[it.where()] = it
		}
	})
	return tn
}

// read does what loadContent does when the stream answers.
func (it *item) read(payload string) {
	it.raw = &jetstream.RawStreamMsg{Data: []byte(payload)}
	it.u.Payload = it.raw.Data
}

func TestPayloadsOfParkedKeysAreKeptWithinABound(t *testing.T) {
	first, second := itemOf("a", 1), itemOf("b", 2)
	tn := parkedTenure(t, first, second)
	first.read("the first")
	second.read("the second")
	tn.b.kept.Store(keptInMemory - int64(len("the first")) - keptBesides)
	tn.locked(func() {
		tn.unload(first)
		tn.unload(first) // again, after an attempt that had no need to read
		tn.unload(second)
	})
	if string(first.u.Payload) != "the first" || first.raw != nil {
		t.Errorf("the first payload is %q in memory, its message %v", first.u.Payload, first.raw)
	}
	if second.u.Payload != nil || second.raw != nil {
		t.Errorf("a payload is kept beyond the bound")
	}
	tn.locked(func() { tn.finish(first) })
	if first.u.Payload != nil || tn.b.kept.Load() != keptInMemory-int64(len("the first"))-keptBesides {
		t.Errorf("%d bytes are kept once the key is settled", tn.b.kept.Load())
	}
	second.read("the second")
	tn.locked(func() { tn.unload(second) })
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
	tn.locked(func() { tn.unload(it) })
	if err := tn.loadPayload(t.Context(), it); !errors.Is(err, parking.ErrLost) {
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
	it.read("late")
	tn.abandon()
	tn.locked(func() { tn.unload(it) })
	if got := tn.b.kept.Load(); got != 0 || it.u.Payload != nil {
		t.Errorf("%d bytes are kept, the payload %q", got, it.u.Payload)
	}
}

// An update that the client hides was read from the channel's stream, once: it
// needs its content for the dead letter.
func TestContentOfAnUpdateThatIsNotParkedStays(t *testing.T) {
	tn, it := parkedTenure(t), itemOf("a", 1)
	it.read("hidden")
	tn.locked(func() { tn.unload(it) })
	if it.raw == nil {
		t.Error("it is gone")
	}
}
