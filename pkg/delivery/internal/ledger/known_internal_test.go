package ledger

import (
	"strconv"
	"testing"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/internal/wire"
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
	bits := uint(0)
	for _, l := range k.layers {
		bits += l.filter.Cap()
	}
	if bits > 4*knownBits*n {
		t.Errorf("%d bits for %d keys", bits, n)
	}
}

// What was in the ledger before the takeover is read, what never was is not, and
// what this view has written is no longer new.
func TestOnlyRecordsThatTheLedgerCannotHaveAreNotRead(t *testing.T) {
	v, b := newView(t)
	rec := wire.Record{ChannelID: v.o.ID}
	rec.Add(*delivered("old", 7), place(1))
	data, err := rec.Encode()
	testkit.Must(t, err)
	_, err = b.JS.Publish(t.Context(), wire.LedgerSubject(v.o.Names, "cal", "old"), data)
	testkit.Must(t, err)

	isNew := func(key string) (is bool) {
		v.locked(func() { is = v.isNew(key) })
		return is
	}
	if isNew("fresh") {
		t.Fatal("nothing was listed yet")
	}
	testkit.Must(t, v.List(t.Context()))
	if isNew("old") || !isNew("fresh") {
		t.Fatalf("after listing: old is new: %v, fresh is new: %v", isNew("old"), isNew("fresh"))
	}
	old, fresh := v.Pin("old"), v.Pin("fresh")
	testkit.Must(t, v.Load(t.Context(), []*Key{old, fresh}))
	if before := apply(v, old, delivered("old", 8), place(2)); before != testkit.Number(7) {
		t.Errorf("the old record has version %s, not 7", before)
	}
	apply(v, fresh, delivered("fresh", 1), place(2))
	if isNew("fresh") {
		t.Error("a key with a record of ours is still new")
	}
}
