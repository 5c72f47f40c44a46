package events_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/hms-utl/extsync/internal/natsserver/natstest"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/events"
)

func TestNextIncarnationIsGreaterAndNew(t *testing.T) {
	now := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	first := events.Incarnation(0).Next(now)
	if first>>32 != events.Incarnation(now.Unix()) {
		t.Errorf("the first is %s", first)
	}
	same := 0
	for range 100 {
		if events.Incarnation(0).Next(now) == first {
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
	data, err := json.Marshal(events.Incarnation(0xabc))
	if err != nil || string(data) != `"0000000000000abc"` {
		t.Errorf("%s, %v", data, err)
	}
	for _, bad := range []string{"", "abc", "0000000000000ABC", "+000000000000abc", "0x00000000000abc", "00000000000000abc", "000000000000.abc"} {
		var i events.Incarnation
		if err := i.UnmarshalText([]byte(bad)); !errors.Is(err, events.ErrName) {
			t.Errorf("%q: %s, %v", bad, i, err)
		}
	}
}

func FuzzIncarnation(f *testing.F) {
	f.Add("0000000000000abc")
	f.Fuzz(func(t *testing.T, text string) {
		var i events.Incarnation
		if err := i.UnmarshalText([]byte(text)); err == nil && i.String() != text {
			t.Errorf("%q is read as %s", text, i)
		}
	})
}

func TestPlacesInTheLogAreOrderedOverIncarnations(t *testing.T) {
	ordered := []events.LogPosition{{}, {Seq: 9}, {Incarnation: 1, Seq: 8}, {Incarnation: 1, Seq: 9}, {Incarnation: 2}, {Incarnation: 2, Seq: 1}}
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
	want := events.LogPosition{Incarnation: 0x692a1b2c00000001, Seq: 7}
	if got, err := n.OutcomePosition(n.Outcomes("erp_db", want.Incarnation, 3), 7); err != nil || got != want {
		t.Errorf("not the position that the subject names: %+v, %v", got, err)
	}
	for _, bad := range []string{"", "sync.out.erp_db.3", "sync.out.erp_db.x.3", "sync.dead.erp_db.692a1b2c00000001.3", "sync.out.a.692a1b2c00000001.3.4"} {
		if got, err := n.OutcomePosition(bad, 7); err == nil {
			t.Errorf("%q: %+v", bad, got)
		}
	}
}

// A record of an earlier incarnation takes entries whose sequences are below its own.
func TestRecordOfAnEarlierIncarnationGoesOn(t *testing.T) {
	var r events.Record
	r.Add(entry(t, "7a", events.Delivered), events.LogPosition{Incarnation: 1, Seq: 800})
	r.Add(entry(t, "8a", events.Delivered), events.LogPosition{Incarnation: 2, Seq: 501})
	if r.Applied.Version.String() != "8" || r.LogPosition != (events.LogPosition{Incarnation: 2, Seq: 501}) {
		t.Errorf("not version 8 at the later incarnation: %+v", r)
	}
	r.Add(entry(t, "9a", events.Delivered), events.LogPosition{Incarnation: 1, Seq: 900})
	if r.Applied.Version.String() != "8" {
		t.Errorf("an entry of an earlier incarnation counts: %+v", r)
	}
}

// installed is a broker that is provisioned.
func installed(t *testing.T) *natstest.Broker {
	t.Helper()
	b := natstest.Run(t)
	if _, err := events.ReadIncarnation(t.Context(), b.JS, events.DefaultNames()); !errors.Is(err, events.ErrNotProvisioned) {
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
	first, err := events.ReadIncarnation(t.Context(), b.JS, names)
	if err != nil || first == 0 {
		t.Fatal(first, err)
	}
	provision(t, b)
	if again, err := events.ReadIncarnation(t.Context(), b.JS, names); again != first || err != nil {
		t.Errorf("provisioning makes %s of %s, %v", again, first, err)
	}
	before, after, err := events.RenewIncarnation(t.Context(), b.JS, names)
	if err != nil || before != first || after <= first {
		t.Errorf("%s, %s, %v", before, after, err)
	}
	if err := events.CheckIncarnation(t.Context(), b.JS, names, first); !errors.Is(err, events.ErrIncarnation) {
		t.Errorf("the first: %v", err)
	}
	if err := events.CheckIncarnation(t.Context(), b.JS, names, after); err != nil {
		t.Errorf("the second: %v", err)
	}
}

// What a publisher remembers of sequences is void in another incarnation.
func TestPublisherRefusesAnotherIncarnation(t *testing.T) {
	p := newPlatform(t)
	pub := p.publisher(t)
	u := of(t, "latest", "k", "1a")
	if _, err := pub.Publish(t.Context(), u); err != nil {
		t.Fatal(err)
	}
	if _, _, err := events.RenewIncarnation(t.Context(), p.JS, p.names); err != nil {
		t.Fatal(err)
	}
	deadline := time.After(30 * time.Second)
	for version := int64(2); ; version++ {
		_, err := pub.Publish(t.Context(), of(t, "latest", "k", fmt.Sprint(version, "a")))
		if errors.Is(err, events.ErrIncarnation) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		select {
		case <-deadline:
			t.Fatal("it publishes on")
		case <-time.After(50 * time.Millisecond):
		}
	}
	many := func(yield func(events.Update) bool) { yield(of(t, "latest", "other", "1a")) }
	for _, err := range pub.PublishAll(t.Context(), many, 4) {
		if !errors.Is(err, events.ErrIncarnation) {
			t.Errorf("many: %v", err)
		}
	}
	if _, err := p.publisher(t).Publish(t.Context(), of(t, "latest", "k", "1000a")); err != nil {
		t.Errorf("a new publisher: %v", err)
	}
}
