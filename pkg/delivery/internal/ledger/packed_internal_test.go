package ledger

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// grow makes a record out of random entries of a log.
func grow(dice *rand.Rand, key string, entries int) wire.Record {
	var rec wire.Record
	outcomes := []events.Outcome{events.Delivered, events.Delivered, events.Superseded, events.Conflict, events.DeadLettered, wire.Retrying, wire.Reset, wire.RefsSet}
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for i := range entries {
		v := testkit.Number(1 + dice.Int64N(9))
		if len(key)%2 == 1 {
			v = versioning.Must(versioning.Time(start.Add(time.Duration(dice.Int64N(3)) * time.Nanosecond)))
		}
		at := start.Add(time.Duration(i) * time.Millisecond)
		if dice.IntN(9) == 0 {
			at = at.Add(time.Nanosecond)
		}
		e := wire.Entry{Key: key, Op: []events.Op{events.Upsert, events.Delete, ""}[dice.IntN(3)], Settlement: events.Settlement{
			Version: v, Digest: versioning.Sum("upsert", []byte{byte(dice.IntN(2))}), ID: strings.Repeat("i", dice.IntN(3)), At: at,
			Outcome: outcomes[dice.IntN(len(outcomes))], Attempts: dice.IntN(300), Class: "transient", Code: "503", Message: key,
		}, Sequence: dice.Uint64N(1 << 40), Content: wire.ContentID(dice.Uint32()), Refs: []events.Refs{nil, {"id": key, "etag": `"7"`}}[dice.IntN(2)]}
		switch dice.IntN(9) {
		case 0:
			e.Outcome, e.Head = wire.Parked, true
		case 1:
			e.Open = v
		}
		rec.Add(e, place(uint64(i+1)))
	}
	return rec
}

func TestPackedRecordIsTheSameRecord(t *testing.T) {
	dice := rand.New(rand.NewPCG(1, 2))
	var buffer []byte
	packedOnes := 0
	for i := range 5000 {
		rec := grow(dice, []string{"k", "a key", "\u00e9", ""}[i%4], i%14)
		packed, grown, ok := pack(buffer, "k", &rec)
		buffer = grown
		if !ok {
			continue
		}
		packedOnes++
		var got wire.Record
		testkit.Must(t, unpack("k", packed, &got))
		want, err := rec.Encode()
		testkit.Must(t, err)
		have, err := got.Encode()
		testkit.Must(t, err)
		if rec.Key == "" {
			continue // no key is empty; one that is takes the encoded one's place
		}
		if string(want) != string(have) {
			t.Fatalf("packed:\n%s\nit was:\n%s", have, want)
		}
	}
	if packedOnes < 1000 {
		t.Errorf("%d of 5000 records were packed", packedOnes)
	}
}

// A record that is retried has more than a packed one can say.
func TestRecordOfWhatIsRetriedIsNotPacked(t *testing.T) {
	var rec wire.Record
	rec.Add(wire.Entry{Key: "k", Settlement: events.Settlement{Version: testkit.Number(1), Outcome: wire.Retrying, Attempts: 1}}, place(1))
	if _, _, ok := pack(nil, "k", &rec); ok {
		t.Error("it was packed")
	}
}

func FuzzUnpack(f *testing.F) {
	dice := rand.New(rand.NewPCG(1, 2))
	for i := range 20 {
		rec := grow(dice, "k", i)
		if packed, _, ok := pack(nil, "k", &rec); ok {
			f.Add(packed)
		}
	}
	f.Fuzz(func(t *testing.T, packed string) {
		var rec wire.Record
		if unpack("k", packed, &rec) != nil {
			return
		}
		_, _ = rec.Encode() // may fail: of a time that no record has
	})
}
