package wire_test

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/hms-utl/extsync/internal/natsserver/natstest"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/internal/wire/wiretest"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/events"
)

func TestNextIncarnationIsGreaterAndNew(t *testing.T) {
	now := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	first := wire.Incarnation(0).Next(now)
	if first>>32 != wire.Incarnation(now.Unix()) {
		t.Errorf("the first is %s", first)
	}
	same := 0
	for range 100 {
		if wire.Incarnation(0).Next(now) == first {
			same++
		}
	}
	if same > 0 {
		t.Errorf("it was made again %d times in the same second", same)
	}
	for _, clock := range []time.Time{now, now.Add(-time.Hour), now.Add(time.Hour)} {
		if next := first.Next(clock); next <= first {
			t.Errorf("at %s the next of %s is %s", clock, first, next)
		}
	}
}

func TestIncarnationAsText(t *testing.T) {
	data, err := json.Marshal(wire.Incarnation(0xabc))
	if err != nil || string(data) != `"0000000000000abc"` {
		t.Errorf("%s, %v", data, err)
	}
	for _, bad := range []string{"", "abc", "0000000000000ABC", "+000000000000abc", "0x00000000000abc", "00000000000000abc", "000000000000.abc"} {
		var i wire.Incarnation
		if err := i.UnmarshalText([]byte(bad)); !errors.Is(err, events.ErrName) {
			t.Errorf("%q: %s, %v", bad, i, err)
		}
	}
}

func FuzzIncarnation(f *testing.F) {
	f.Add("0000000000000abc")
	f.Fuzz(func(t *testing.T, text string) {
		var i wire.Incarnation
		if err := i.UnmarshalText([]byte(text)); err == nil && i.String() != text {
			t.Errorf("%q is read as %s", text, i)
		}
	})
}

func TestPlacesInTheLogAreOrderedOverIncarnations(t *testing.T) {
	ordered := []wire.LogPosition{{}, {Seq: 9}, {Incarnation: 1, Seq: 8}, {Incarnation: 1, Seq: 9}, {Incarnation: 2}, {Incarnation: 2, Seq: 1}}
	for i, p := range ordered {
		for j, q := range ordered {
			if p.Before(q) != (i < j) {
				t.Errorf("%+v before %+v: %t", p, q, p.Before(q))
			}
		}
	}
}

func TestPositionOfAnOutcome(t *testing.T) {
	n := events.DefaultNames()
	want := wire.LogPosition{Incarnation: 0x692a1b2c00000001, Seq: 7}
	if got, err := wire.OutcomePosition(n, wire.Outcomes(n, "erp_db", want.Incarnation, 3), 7); err != nil || got != want {
		t.Errorf("not the position that the subject names: %+v, %v", got, err)
	}
	for _, bad := range []string{"", "sync.out.erp_db.3", "sync.out.erp_db.x.3", "sync.dead.erp_db.692a1b2c00000001.3", "sync.out.a.692a1b2c00000001.3.4"} {
		if got, err := wire.OutcomePosition(n, bad, 7); err == nil {
			t.Errorf("%q: %+v", bad, got)
		}
	}
}

// A record of an earlier incarnation takes entries whose sequences are below its own.
func TestRecordOfAnEarlierIncarnationGoesOn(t *testing.T) {
	var r wire.Record
	r.Add(wiretest.Entry(t, "7a", events.Delivered), wire.LogPosition{Incarnation: 1, Seq: 800})
	r.Add(wiretest.Entry(t, "8a", events.Delivered), wire.LogPosition{Incarnation: 2, Seq: 501})
	if r.Applied.Version.String() != "8" || r.LogPosition != (wire.LogPosition{Incarnation: 2, Seq: 501}) {
		t.Errorf("not version 8 at the later incarnation: %+v", r)
	}
	r.Add(wiretest.Entry(t, "9a", events.Delivered), wire.LogPosition{Incarnation: 1, Seq: 900})
	if r.Applied.Version.String() != "8" {
		t.Errorf("an entry of an earlier incarnation counts: %+v", r)
	}
}

// installed is a broker that is provisioned.
func installed(t *testing.T) *natstest.Broker {
	t.Helper()
	b := natstest.Run(t)
	if _, err := wire.ReadIncarnation(t.Context(), b.JS, events.DefaultNames()); !errors.Is(err, events.ErrNotProvisioned) {
		t.Fatalf("before provisioning: %v", err)
	}
	provision(t, b)
	return b
}

func provision(t *testing.T, b *natstest.Broker) {
	t.Helper()
	if err := channels.Provision(t.Context(), b.JS, events.DefaultNames(), channels.Storage{}); err != nil {
		t.Fatal(err)
	}
}

func TestIncarnationChangesByRenewalOnly(t *testing.T) {
	b := installed(t)
	names := events.DefaultNames()
	first, err := wire.ReadIncarnation(t.Context(), b.JS, names)
	if err != nil || first == 0 {
		t.Fatal(first, err)
	}
	provision(t, b)
	if again, err := wire.ReadIncarnation(t.Context(), b.JS, names); again != first || err != nil {
		t.Errorf("provisioning makes %s of %s, %v", again, first, err)
	}
	before, after, err := wire.RenewIncarnation(t.Context(), b.JS, names)
	if err != nil || before != first || after <= first {
		t.Errorf("%s, %s, %v", before, after, err)
	}
	if err := wire.CheckIncarnation(t.Context(), b.JS, names, first); !errors.Is(err, events.ErrIncarnation) {
		t.Errorf("the first: %v", err)
	}
	if err := wire.CheckIncarnation(t.Context(), b.JS, names, after); err != nil {
		t.Errorf("the second: %v", err)
	}
}
