package delivery

import (
	"context"
	"errors"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/events"
)

func TestAnswersOfTheBrokerToARecord(t *testing.T) {
	b := newBench(t, acceptAll)
	tn := b.tenure(t, b.run(t, memoryChannel("cal", channels.Every)))
	w, err := tn.newWriter()
	must(t, err)
	defer w.close()
	// What the server really sends is the form that is read without package json.
	reply, err := b.JS.Conn().Request(events.KVSubject(tn.b.names.LedgerBucket(), "cal.k"), []byte("{}"), patience)
	must(t, err)
	if got := string(w.plain) + "1}"; got != string(reply.Data) {
		t.Errorf("the server answers %s, expected is %s", reply.Data, got)
	}
	for _, tt := range []struct {
		name, data string
		revision   uint64
		check      func(error) bool
	}{
		{"stored", `{"stream":"KV_sync_ledger","seq":12}`, 12, nil},
		{"stored in a domain", `{"stream":"KV_sync_ledger", "domain":"d", "seq":13}`, 13, nil},
		{"another was there", `{"error":{"code":400,"err_code":10071,"description":"wrong last sequence: 4"},"stream":"KV_sync_ledger","seq":0}`, 0, events.IsWrongSequence},
		{"full", `{"error":{"code":503,"err_code":10077,"description":"maximum bytes exceeded"},"stream":"KV_sync_ledger","seq":0}`, 0, events.IsFull},
		{"nobody", "", 0, func(err error) bool { return errors.Is(err, jetstream.ErrNoStreamResponse) }},
		{"rubbish", "{", 0, func(err error) bool { return err != nil }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			revision, err := w.revisionOf(&nats.Msg{Data: []byte(tt.data)})
			if revision != tt.revision || tt.check == nil && err != nil || tt.check != nil && !tt.check(err) {
				t.Errorf("revision %d, error %v", revision, err)
			}
		})
	}
}

// dirtyKey returns the state of a key whose record is ahead of the bucket.
func (b *bench) dirtyKey(t *testing.T) (*tenure, *keyState) {
	t.Helper()
	tn := b.tenure(t, b.run(t, memoryChannel("cal", channels.Every)))
	var s *keyState
	tn.locked(func() { s = tn.view.pin("k") })
	must(t, tn.view.load(t.Context(), []*keyState{s}))
	tn.locked(func() {
		tn.view.add(s, &events.Entry{Key: "k", Settlement: events.Settlement{Version: number(1), Outcome: events.Delivered}}, 1)
		tn.view.unpin(s)
	})
	return tn, s
}

// Progress must not say that the ledger has what nobody has confirmed.
func TestWritingThatWasCutShortIsAnError(t *testing.T) {
	tn, s := newBench(t, acceptAll).dirtyKey(t)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := tn.writeRecords(ended, []*keyState{s}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	tn.locked(func() {
		if !s.dirty || s.pins != 0 {
			t.Errorf("dirty %v, pins %d", s.dirty, s.pins)
		}
	})
}

// The answers to what was on its way never come once the connection was cut: the
// records are written again, at once and not when patience is over.
func TestRecordsOnTheirWayWhenTheConnectionBreaksAreWrittenAgain(t *testing.T) {
	b := newBench(t, acceptAll)
	tn, s := b.dirtyKey(t)
	w, err := tn.newWriter()
	must(t, err)
	must(t, w.send([]*keyState{s}))
	for m := range w.answers { // it is lost
		_ = m
		break
	}
	must(t, b.JS.Conn().ForceReconnect())
	if err := w.await(t.Context()); !events.IsUnavailable(err) {
		t.Fatalf("%v", err)
	}
	w.close()
	eventually(t, "the record to be in the ledger", func() bool {
		if err := tn.writeRecords(t.Context(), []*keyState{s}); err != nil {
			return false
		}
		_, _, err := tn.b.ledger.GetEncoded(t.Context(), "cal", "k")
		return err == nil
	})
	tn.locked(func() {
		if s.dirty || s.pins != 0 {
			t.Errorf("dirty %v, pins %d", s.dirty, s.pins)
		}
	})
}
