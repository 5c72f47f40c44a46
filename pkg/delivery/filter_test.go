package delivery_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/delivery"
	"github.com/hms-utl/extsync/pkg/events"
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

func TestMappingErrorIsADeadLetterWithoutPayload(t *testing.T) {
	cfg := channel("erp", channels.Latest)
	cfg.Mapping = `{v: .key.x}`
	l := newLab(t, cfg)
	l.work("w1")
	ack := l.request(update("erp", "canary", 1))
	if ack.Outcome != events.DeadLettered || ack.Code != "mapping" || !strings.Contains(ack.Message, "{v: .key.x}") || strings.Contains(ack.Message, "canary") {
		t.Errorf("ack: %+v", ack)
	}
	if got := l.tg.attempts(); len(got) != 0 {
		t.Errorf("the target was called: %v", got)
	}
}

// A filtered update says nothing of a target that is down: it must not close the
// circuit.
func TestFilteredUpdateIsNoSignOfLife(t *testing.T) {
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
