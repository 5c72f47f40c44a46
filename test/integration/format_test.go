package integration

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/hms-utl/extsync/internal/faults"
	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// newer returns a stored record as a later release might write it.
func newer(t testing.TB, data []byte) []byte {
	t.Helper()
	own := fmt.Appendf(nil, `"f":%d`, wire.Format)
	if !bytes.Contains(data, own) {
		t.Fatalf("no format in %s", data)
	}
	return bytes.Replace(data, own, fmt.Appendf(nil, `"f":%d`, wire.Format+1), 1)
}

// During an upgrade workers of two releases run side by side. One that meets a
// record of the later one leaves that alone and says so; what it can read, it
// goes on with.
func TestRecordsOfANewerReleaseAreRefusedNotGuessed(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	target := func(name string) *faults.HTTPTarget {
		tg := faults.NewHTTPTarget(t, faults.HTTPOptions{})
		r.channel(name, channels.Latest, "http", tg.Connector(), func(c *channels.Config) { c.Partitions = 1 })
		return tg
	}
	well, ledger, logged, registered := target("well"), target("ledger"), target("logged"), target("registered")
	r.worker("w0")
	for _, c := range []string{"well", "ledger", "logged", "registered"} {
		for k := range 3 {
			u := events.Update{Channel: c, Key: fmt.Sprint("k", k), Version: versioning.Must(versioning.Number(1)), Payload: []byte(`{}`)}
			r.accept(u)
			r.outcome(u)
		}
	}
	r.stopWorkers()

	ctx := t.Context()
	rewrite := func(bucket, key string) (undo func()) {
		kv, err := r.js.KeyValue(ctx, bucket)
		r.must(err)
		e, err := kv.Get(ctx, key)
		r.must(err)
		_, err = kv.Put(ctx, key, newer(t, e.Value()))
		r.must(err)
		return func() {
			_, err := kv.Put(ctx, key, e.Value())
			r.must(err)
		}
	}
	undoLedger := rewrite(wire.LedgerBucket(r.names), wire.LedgerKey(r.names, "ledger", "k0"))
	undoRegistry := rewrite(wire.RegistryBucket(r.names), "registered")
	// The later release has committed something that this one does not understand.
	group := fmt.Appendf(nil, `{"f":%d,"channel":"logged","partition":0,"epoch":1,"n":1,"worker":"later","at":"2026-01-01T00:00:00Z"}`, wire.Format+1)
	incarnation, err := wire.ReadIncarnation(ctx, r.js, r.names)
	r.must(err)
	ack, err := r.js.Publish(ctx, wire.Outcomes(r.names, "logged", incarnation, 0), group)
	r.must(err)

	w := r.worker("w1")
	next := func(c, key string) events.Update {
		return events.Update{Channel: c, Key: key, Version: versioning.Must(versioning.Number(2)), Payload: []byte(`{}`)}
	}
	said := func(what string) {
		testkit.Eventually(t, "the worker to say what it refuses: "+what, func() bool {
			for line := range strings.Lines(w.Log()) {
				if strings.Contains(line, what) && strings.Contains(line, events.ErrNewerFormat.Error()) {
					return true
				}
			}
			return false
		})
	}
	r.accept(next("well", "k0"))
	r.outcome(next("well", "k0"))
	// Of a channel with one record that it cannot read, the others go on.
	r.accept(next("ledger", "k1"))
	r.outcome(next("ledger", "k1"))
	blocked := []events.Update{next("ledger", "k0"), next("logged", "k0"), next("registered", "k0")}
	for _, u := range blocked {
		r.accept(u)
	}
	said(`"channel":"ledger"`)
	said(`"channel":"logged"`)
	said("registered")
	for _, u := range blocked {
		if _, err := r.pub.Outcome(ctx, u.Channel, u.Key, u.Tag()); err == nil {
			t.Errorf("channel %s: delivered although a record could not be read", u.Channel)
		}
	}
	for name, tg := range map[string]*faults.HTTPTarget{"logged": logged, "registered": registered} {
		if _, writes, _ := tg.Counts(); writes != 3 {
			t.Errorf("channel %s: %d writes", name, writes)
		}
	}

	// What the later release took back goes on by itself.
	undoLedger()
	undoRegistry()
	log, err := r.js.Stream(ctx, wire.OutcomeStream(r.names))
	r.must(err)
	r.must(log.DeleteMsg(ctx, ack.Sequence))
	for _, u := range blocked {
		testkit.Eventually(t, "the delivery on channel "+u.Channel, func() bool {
			a, err := r.pub.Outcome(ctx, u.Channel, u.Key, u.Tag())
			return err == nil && a.Outcome == events.Delivered
		})
	}
	for name, tg := range map[string]*faults.HTTPTarget{"well": well, "ledger": ledger, "logged": logged, "registered": registered} {
		want := 4
		if name == "ledger" {
			want = 5
		}
		if _, writes, _ := tg.Counts(); writes != want {
			t.Errorf("channel %s: %d writes, not %d", name, writes, want)
		}
	}
}
