package delivery

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/delivery/internal/gate"
	"github.com/hms-utl/extsync/pkg/workers"
)

// TestAnnouncement: it names the worker, its shards, those that it wants and does not
// get, and what does not move, the most urgent first.
func TestAnnouncement(t *testing.T) {
	b := newBench(t, acceptAll)
	m := b.m
	m.live = []string{"w"}
	entry := func(name string) channels.Entry {
		return channels.Entry{Config: channels.Config{Name: name, Partitions: 1}}
	}
	for _, name := range []string{"opens", "secret", "broken", "elsewhere"} {
		m.entries[name] = entry(name)
		if name != "elsewhere" {
			b.lease(t, workers.Shard(name, 0))
		}
	}
	m.opening["opens"] = time.Now()
	m.failed["secret"] = m.failed["secret"].again(fmt.Errorf("open connector of kind http: %w: environment variable CHANNEL_ERP_TOKEN is not set", connectors.ErrSecret))
	m.failed["broken"] = m.failed["broken"].again(errors.New("no such\nhost"))

	data, err := m.announcement()
	testkit.Must(t, err)
	rec, err := workers.Decode(data)
	testkit.Must(t, err)
	if rec.Worker != "w" || rec.TTL != m.b.leaseTTL.Milliseconds() || rec.Host == "" || rec.PID == 0 || rec.Started.IsZero() {
		t.Errorf("who the worker is, its process or its start is missing: %+v", rec)
	}
	if len(rec.Shards) != 3 || !slices.IsSorted(rec.Shards) || !slices.Equal(rec.Wants, []int{workers.Shard("elsewhere", 0)}) {
		t.Errorf("shards %v, wants %v", rec.Shards, rec.Wants)
	}
	var got []string
	for _, w := range rec.Waits {
		got = append(got, w.Channel+" "+string(w.Code))
	}
	if want := []string{"secret secret_missing", "broken connector_failed", "opens opening"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if w := rec.Waits[0]; w.Next.Before(w.Since) || w.Message != "open connector of kind http: cannot resolve secret: environment variable CHANNEL_ERP_TOKEN is not set" {
		t.Errorf("not the missing secret, tried again later: %+v", w)
	}
	if s, _ := m.stats.status(); len(s.Waits) != 3 {
		t.Errorf("the status has %+v", s.Waits)
	}
	first := m.failed["secret"].since
	if again := m.failed["secret"].again(errors.New("still")); again.since != first {
		t.Errorf("since %s, was %s", again.since, first)
	}
}

// TestWhatASightShows: trouble lasts until there is progress, over all tenures.
func TestWhatASightShows(t *testing.T) {
	b := newBench(t, acceptAll)
	r := &channelRun{entry: channels.Entry{Config: channels.Config{Name: "cal", Partitions: 4}}, gate: gate.New(gate.Options{Log: b.m.log}), log: b.m.log, b: b.m.b}
	part := newPartition(r, 2, b.lease(t, 2))
	r.partitions = map[int]*partition{2: part}
	now := time.Now()
	code := func(after time.Duration) string {
		waits := r.waits(now.Add(after), time.Minute)
		if len(waits) != 1 || !slices.Equal(waits[0].Partitions, []int{2}) {
			t.Fatalf("not one wait of partition 2: %+v", waits)
		}
		return fmt.Sprint(waits[0].Code, " ", waits[0].Stalled)
	}
	for _, step := range []struct {
		what  string
		do    func()
		after time.Duration
		want  string
	}{
		{"at first", func() {}, 0, "taking_over false"},
		{"without an end", func() {}, 2 * time.Minute, "takeover_failed true"},
		{"it has failed", func() { part.sight.troubled(errors.New("permission")) }, 0, "takeover_failed false"},
		{"and goes on so", func() { part.sight.troubled(errors.New("permission")) }, 2 * time.Minute, "takeover_failed true"},
		{"progress", func() { part.sight.moved(now) }, 0, "taking_over false"},
	} {
		step.do()
		if got := code(step.after); got != step.want {
			t.Errorf("%s: %s, want %s", step.what, got, step.want)
		}
	}
}
