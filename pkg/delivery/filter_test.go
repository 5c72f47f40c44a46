package delivery_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/delivery"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/render"
)

// An update that the filter keeps back has an outcome, and the ledger does not
// say that the target holds it.
func TestFilteredUpdateIsSettledAndNotApplied(t *testing.T) {
	for _, mode := range modes {
		t.Run(string(mode), func(t *testing.T) {
			cfg := channel("erp", mode)
			cfg.Filter = `.version != 2`
			cfg.Mapping = `{key: $key, v: $version, was: .version}`
			l := newLab(t, cfg)
			payloads := make(chan string, 10)
			l.tg.answerWith(func(a connectors.Attempt) connectors.Result {
				published := update("erp", a.Key, mustInt(a))
				if a.Op != events.Delete && a.Digest != published.Digest() {
					return connectors.Failed(connectors.Permanent, "digest", errors.New("the digest is not that of the update as published"))
				}
				payloads <- string(a.Payload)
				return connectors.Done()
			})
			l.work("w1")
			l.request(update("erp", "k", 1))
			ack := l.request(update("erp", "k", 2))
			if ack.Outcome != events.Delivered || ack.Code != events.CodeFiltered || ack.Attempts != 0 {
				t.Errorf("ack of the filtered update: %+v", ack)
			}
			l.eventually("the ledger to know the filtered version", func() bool {
				rec, err := l.ledger.Get(t.Context(), "erp", "k")
				return err == nil && rec.Settled.Version == testkit.Number(2) && rec.Applied.Version == testkit.Number(1)
			})
			third := update("erp", "k", 3)
			third.Base = testkit.Number(2) // the target does not hold it, rightly
			if ack := l.request(third); ack.Outcome != events.Delivered || ack.Code == events.CodeFiltered {
				t.Errorf("ack of the next update: %+v", ack)
			}
			gone := events.Update{Channel: "erp", Key: "k", Version: testkit.Number(4), Op: events.Delete}
			if ack := l.request(gone); ack.Outcome != events.Delivered {
				t.Errorf("ack of the delete: %+v", ack)
			}
			if got := l.tg.versions("k"); !slices.Equal(got, []string{"1", "3", "4"}) {
				t.Errorf("the target got %v", got)
			}
			for _, want := range []string{`{"key":"k","v":1,"was":1}`, `{"key":"k","v":3,"was":3}`, ""} {
				if got := <-payloads; got != want {
					t.Errorf("the target got %s, want %s", got, want)
				}
			}
		})
	}
}

func mustInt(a connectors.Attempt) int64 {
	n, _ := a.Version.Int64()
	return n
}

// A mapping that took too much was left running, its update spent no attempt, and was
// tried for ever. It ends as a dead letter; the channel is blocked when a second key
// has it and no other is delivered.
func TestCostlyMappingIsItsOwnKeys(t *testing.T) {
	cfg := channel("erp", channels.Latest)
	cfg.Mapping = `[.t // "" | scan("a.*b|a")] | length`
	cfg.Timeout = connectors.Duration(2 * time.Second)
	cfg.Retry.MaxAttempts = 2
	l := newLab(t, cfg)
	w := l.work("w1")
	costly := func(key string, version int64) events.Update {
		u := update("erp", key, version)
		u.Payload = []byte(`{"t":"` + strings.Repeat("a", 60_000) + `"}`)
		return u
	}
	ack := l.request(costly("a", 1))
	if ack.Outcome != events.DeadLettered || ack.Code != "mapping_failed" || ack.Attempts != 2 {
		t.Errorf("the ack of the costly one: %+v", ack)
	}
	if ack := l.request(update("erp", "b", 1)); ack.Outcome != events.Delivered {
		t.Errorf("another key: %+v", ack)
	}
	l.push(costly("a", 2))
	l.push(costly("c", 1))
	l.eventually("the channel to be blocked by the second key", func() bool {
		return slices.ContainsFunc(w.Status().Partitions, func(p delivery.PartitionStatus) bool { return p.Circuit == "blocked" })
	})
	// What is delivered shows that it is not the channel.
	if ack := l.request(update("erp", "d", 1)); ack.Outcome != events.Delivered {
		t.Errorf("a key whose update can be mapped: %+v", ack)
	}
}

// The mapping of one channel took 22 s in one step for each of these, 16 at once. Leases
// were lost, and other channels silent.
func TestHostileMappingLeavesOtherChannelsAlone(t *testing.T) {
	hostile := channel("hostile", channels.Latest)
	hostile.Mapping = `{t: (.t|gsub(" ";"_"))}`
	hostile.Timeout = connectors.Duration(5 * time.Minute) // a slow machine takes seconds for each
	l := newLab(t, hostile)
	l.put(channel("other", channels.Latest))
	w := l.work("w1")
	l.request(update("other", "k", 1))
	l.request(update("hostile", "k", 1)) // both have begun
	before := w.Stats()
	spaces := []byte(`{"t":"` + strings.Repeat(" ", 200_000) + `"}`)
	const keys = 8
	for k := range keys {
		u := update("hostile", fmt.Sprint("k", k), 1)
		u.Payload = spaces
		l.push(u)
	}
	for v := int64(2); v < 50; v++ {
		if ack := l.request(update("other", "k", v)); ack.Outcome != events.Delivered {
			t.Fatalf("the other channel: %+v", ack)
		}
	}
	for k := range keys {
		if ack := l.outcome("hostile", fmt.Sprint("k", k), 1); ack.Outcome != events.DeadLettered || ack.Code != "mapping_failed" {
			t.Errorf("key %d: %+v", k, ack)
		}
	}
	after := w.Stats()
	for _, name := range []string{"hostile", "other"} {
		if after[name].Takeovers != before[name].Takeovers {
			t.Errorf("%s was taken over again: its lease was lost", name)
		}
	}
}

func TestMappingErrorIsADeadLetterWithoutPayload(t *testing.T) {
	t.Parallel()
	cfg := channel("erp", channels.Latest)
	cfg.Mapping = `{v: .key.x}`
	l := newLab(t, cfg)
	l.work("w1")
	ack := l.request(update("erp", "canary", 1))
	if ack.Outcome != events.DeadLettered || ack.Code != "mapping_failed" || !strings.Contains(ack.Message, "{v: .key.x}") || strings.Contains(ack.Message, "canary") {
		t.Errorf("ack: %+v", ack)
	}
	if got := l.tg.attempts(); len(got) != 0 {
		t.Errorf("the target was called: %v", got)
	}
}

// A document that cannot be rendered is its own key's dead letter; what can be is sent, and a
// delete is sent as it is.
func TestRenderedDocumentsAreDelivered(t *testing.T) {
	t.Parallel()
	cfg := channel("erp", channels.Latest)
	cfg.Render = &render.Config{Format: render.XML, Template: `<a k="{{$key}}" v="{{$version}}">{{.t}}</a>`}
	l := newLab(t, cfg)
	got := make(chan string, 10)
	l.tg.answerWith(func(a connectors.Attempt) connectors.Result {
		got <- a.ContentType + " " + string(a.Payload)
		return connectors.Done()
	})
	l.work("w1")
	u := update("erp", "k<1>", 1)
	u.Payload = []byte(`{"t":"a & b"}`)
	if ack := l.request(u); ack.Outcome != events.Delivered {
		t.Errorf("ack: %+v", ack)
	}
	u = update("erp", "other", 1)
	u.Payload = []byte(`{"t":"canary\u0001"}`)
	if ack := l.request(u); ack.Outcome != events.DeadLettered || ack.Code != "render_failed" || strings.Contains(ack.Message, "canary") {
		t.Errorf("ack of what XML cannot write: %+v", ack)
	}
	if ack := l.request(events.Update{Channel: "erp", Key: "k<1>", Version: testkit.Number(2), Op: events.Delete}); ack.Outcome != events.Delivered {
		t.Errorf("ack of the delete: %+v", ack)
	}
	for _, want := range []string{`application/xml <a k="k&lt;1&gt;" v="1">a &amp; b</a>`, "application/json "} {
		if text := <-got; text != want {
			t.Errorf("the target got %s, want %s", text, want)
		}
	}
}

// A filtered update says nothing of a target that is down: it must not close the
// circuit.
func TestFilteredUpdateIsNoSignOfLife(t *testing.T) {
	t.Parallel()
	cfg := channel("erp", channels.Latest)
	cfg.Filter = `.key | startswith("f") | not`
	l := newLab(t, cfg)
	l.tg.answerWith(func(connectors.Attempt) connectors.Result {
		return connectors.Failed(connectors.Transient, "503", errors.New("down"))
	})
	w := l.work("w1")
	for _, key := range []string{"a", "b"} {
		l.push(update("erp", key, 1))
	}
	open := func() bool {
		return slices.ContainsFunc(w.Status().Partitions, func(p delivery.PartitionStatus) bool { return p.Circuit == "open" })
	}
	l.eventually("the circuit to open", open)
	if ack := l.request(update("erp", "f", 1)); ack.Code != events.CodeFiltered {
		t.Errorf("ack: %+v", ack)
	}
	if !open() {
		t.Error("the circuit has closed although the target is down")
	}
}
