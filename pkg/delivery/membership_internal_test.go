package delivery

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/pkg/events"
)

func TestWhoIsAlive(t *testing.T) {
	now := time.Date(2026, 11, 28, 3, 0, 0, 0, time.UTC)
	const ttl = 4 * time.Second
	record := func(id string, sequence uint64, ago, ttl time.Duration) memberRecord {
		return memberRecord{id: id, sequence: sequence, stored: now.Add(-ago), ttl: ttl}
	}
	me := record("me", 9, 0, ttl)
	for name, tt := range map[string]struct {
		records []memberRecord
		want    []string
	}{
		"nobody":                       {nil, nil},
		"alone":                        {[]memberRecord{me}, []string{"me"}},
		"both":                         {[]memberRecord{me, record("a", 8, time.Second, ttl)}, []string{"a", "me"}},
		"silent for a lease":           {[]memberRecord{me, record("a", 8, ttl, ttl)}, []string{"me"}},
		"nearly":                       {[]memberRecord{me, record("a", 8, ttl-1, ttl)}, []string{"a", "me"}},
		"with longer leases":           {[]memberRecord{me, record("a", 8, ttl, 2*ttl)}, []string{"a", "me"}},
		"left, or no announcement":     {[]memberRecord{me, record("a", 8, 0, 0)}, []string{"me"}},
		"back from the dead":           {[]memberRecord{me, record("a", 1, time.Hour, ttl)}, []string{"me"}},
		"only the dead":                {[]memberRecord{record("a", 1, time.Hour, ttl), record("b", 2, time.Minute, ttl)}, []string{"b"}},
		"from before the clock jumped": {[]memberRecord{me, record("a", 8, -time.Hour, ttl)}, []string{"me"}},
		"measured by one that left":    {[]memberRecord{record("a", 8, 10*time.Second, ttl), record("b", 9, 0, 0)}, nil},
	} {
		var got []string
		for _, m := range alive(tt.records, newest(tt.records)) {
			got = append(got, m.ID)
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
	}
}

func TestMembersAreThoseThatAnnounceThemselves(t *testing.T) {
	b := newBench(t, acceptAll)
	names, ctx := b.m.b.names, t.Context()
	write := func(id, text string) {
		t.Helper()
		_, err := b.JS.Publish(ctx, events.KVSubject(names.WorkersBucket(), id), []byte(text))
		must(t, err)
	}
	expect := func(what string, want ...string) {
		t.Helper()
		b.m.meet(ctx)
		members, err := Members(ctx, b.JS, names)
		must(t, err)
		var got []string
		for _, m := range members {
			got = append(got, m.ID)
		}
		if !slices.Equal(got, want) || !slices.Equal(b.m.live, want) {
			t.Errorf("%s: %v for others, %v for the worker, want %v", what, got, b.m.live, want)
		}
	}
	expect("alone", "w")
	write("a", `{"f":1,"ttl":10,"more":[1]}`)
	write("b", `{"f":1,"ttl":10}`)
	expect("three", "a", "b", "w")
	write("a", `{"f":1,"ttl":10,"left":true}`)
	expect("one has left", "b", "w")
	kv, err := b.JS.KeyValue(ctx, names.WorkersBucket())
	must(t, err)
	must(t, kv.Purge(ctx, "b"))
	for i, text := range []string{"", "x", "[]", `{"ttl":10}`, `{"f":1}`, `{"f":-1,"ttl":10}`, `{"f":1,"ttl":1000000000}`} {
		write(fmt.Sprint("odd", i), text)
	}
	expect("purge markers and what is no announcement", "w")
	b.m.left = true
	must(t, b.m.announce(ctx))
	if members, err := Members(ctx, b.JS, names); err != nil || len(members) > 0 {
		t.Errorf("after leaving: %v, %v", members, err)
	}
	b.m.left = false

	write("newer", `{"f":2,"ttl":10}`)
	b.m.liveAt = time.Now()
	b.m.meet(ctx)
	if why := b.m.told().MembersUnknown; why != "" {
		t.Errorf("one look that failed: %q", why)
	}
	b.m.liveAt = time.Now().Add(-b.m.b.leaseTTL)
	b.m.meet(ctx)
	if why := b.m.told().MembersUnknown; why == "" {
		t.Error("the worker does not say that it cannot list the live workers")
	}
}

// told returns what the manager says of the worker.
func (m *manager) told() Status {
	status, _ := m.stats.status()
	return status
}

func TestMembersAreReadWithinBounds(t *testing.T) {
	b := newBench(t, acceptAll)
	names := b.m.b.names
	for i := range mostMembers + 1 {
		_, err := b.JS.PublishAsync(events.KVSubject(names.WorkersBucket(), fmt.Sprint("w", i)), []byte(`{"f":1,"ttl":10}`))
		must(t, err)
	}
	<-b.JS.PublishAsyncComplete()
	if _, err := Members(t.Context(), b.JS, names); err == nil {
		t.Error("a bucket that nobody tidies is read to its end")
	}
}

func FuzzAnnouncement(f *testing.F) {
	f.Add([]byte(`{"f":1,"ttl":4,"left":true}`))
	f.Add([]byte(`{"f":2}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		rec, err := decodeMember("w", &jetstream.RawStreamMsg{Data: data})
		if rec.ttl < 0 || rec.ttl > MaxLeaseTTL || err != nil && rec.ttl != 0 {
			t.Errorf("%+v, %v", rec, err)
		}
		if rec.ttl > 0 && !json.Valid(data) {
			t.Errorf("%q counts as alive", data)
		}
	})
}

func BenchmarkReadMembers(b *testing.B) {
	bench := newBench(b, acceptAll)
	names := bench.m.b.names
	for range 60 { // each has announced itself for a while
		for i := range 64 {
			_, err := bench.JS.PublishAsync(events.KVSubject(names.WorkersBucket(), fmt.Sprint("w", i)), []byte(`{"f":1,"ttl":10}`))
			must(b, err)
		}
	}
	<-bench.JS.PublishAsyncComplete()
	for b.Loop() {
		if _, err := readMembers(b.Context(), bench.JS, names); err != nil {
			b.Fatal(err)
		}
	}
}
