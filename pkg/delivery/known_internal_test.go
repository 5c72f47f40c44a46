package delivery

import (
	"strconv"
	"testing"

	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/events"
)

func TestKnownNeverMissesAKey(t *testing.T) {
	const n = 20_000
	k := newKnown()
	for i := range n {
		k.add("k" + strconv.Itoa(i))
	}
	for i := range n {
		if !k.mayHave("k" + strconv.Itoa(i)) {
			t.Fatalf("key %d was added and is not known", i)
		}
	}
	wrong := 0
	for i := range n {
		if k.mayHave("other" + strconv.Itoa(i)) {
			wrong++
		}
	}
	if wrong > n/10 {
		t.Errorf("%d of %d keys that were never added seem known", wrong, n)
	}
	bits := 0
	for _, l := range k.layers {
		bits += 64 * len(l.bits)
	}
	if bits > 4*knownBits*n {
		t.Errorf("%d bits for %d keys", bits, n)
	}
}

// What was in the ledger before the takeover is read, what never was is not, and
// what this tenure has written is no longer new.
func TestOnlyRecordsThatTheLedgerCannotHaveAreNotRead(t *testing.T) {
	b := newBench(t, acceptAll)
	tn := b.tenure(t, b.run(t, memoryChannel("cal", channels.Every)))
	rec := events.Record{ChannelID: tn.p.r.entry.ID}
	rec.Add(events.Entry{Key: "old", Settlement: events.Settlement{Version: number(7), Outcome: events.Delivered}}, events.LogPosition{Seq: 1})
	data, err := rec.Encode()
	must(t, err)
	names := events.DefaultNames()
	_, err = b.JS.Publish(t.Context(), names.LedgerSubject("cal", "old"), data)
	must(t, err)

	isNew := func(key string) (is bool) {
		tn.locked(func() { is = tn.view.isNew(key) })
		return is
	}
	if isNew("fresh") {
		t.Fatal("nothing was listed yet")
	}
	tn.listKnown(t.Context())
	if isNew("old") || !isNew("fresh") {
		t.Fatalf("after listing: old is new: %v, fresh is new: %v", isNew("old"), isNew("fresh"))
	}
	var old, fresh *keyState
	tn.locked(func() { old, fresh = tn.view.pin("old"), tn.view.pin("fresh") })
	must(t, tn.view.load(t.Context(), []*keyState{old, fresh}))
	tn.locked(func() {
		if got := tn.view.record(old).Applied.Version; got != number(7) {
			t.Errorf("the old record has version %s", got)
		}
		tn.view.add(fresh, &events.Entry{Key: "fresh", Settlement: events.Settlement{Version: number(1), Outcome: events.Delivered}}, tn.at(2))
	})
	if isNew("fresh") {
		t.Error("a key with a record of ours is still new")
	}
}
