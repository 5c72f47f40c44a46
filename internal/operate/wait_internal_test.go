package operate

import (
	"testing"
	"time"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// wait k@2 said that the target holds 2 or newer while it held nothing.
func TestWaitForASupersededVersion(t *testing.T) {
	entry := func(version int64, o events.Outcome, change ...func(*wire.Entry)) wire.Entry {
		v := testkit.Number(version)
		e := wire.Entry{Key: "k", Op: events.Upsert, Settlement: events.Settlement{Version: v, Digest: versioning.Sum("upsert", []byte(v.String())), Outcome: o, At: time.Now()}}
		for _, c := range change {
			c(&e)
		}
		return e
	}
	by := func(version int64, class connectors.Class, code string) func(*wire.Entry) {
		return func(e *wire.Entry) { e.By, e.Class, e.Code = testkit.Number(version), class.String(), code }
	}
	superseded := entry(2, events.Superseded, by(3, connectors.Stale, events.CodeOlder))
	for _, c := range []struct {
		name    string
		entries []wire.Entry
		ends    bool
		newest  events.Outcome
	}{
		{"the newer one is on its way", []wire.Entry{superseded}, false, ""},
		{"the newer one fails", []wire.Entry{superseded, entry(3, wire.Retrying)}, false, ""},
		{"an older one is in flight", []wire.Entry{entry(2, events.Superseded, by(3, connectors.Stale, events.CodeOlder), func(e *wire.Entry) { e.Open = testkit.Number(1) })}, false, ""},
		{"the newer one was delivered", []wire.Entry{superseded, entry(3, events.Delivered)}, true, ""},
		{"the newer one was given up", []wire.Entry{superseded, entry(3, events.DeadLettered)}, true, events.DeadLettered},
		{"the newest was given up, one between delivered", []wire.Entry{superseded, entry(3, events.Delivered), entry(4, events.DeadLettered)}, true, ""},
		{"by derivation, and given up", []wire.Entry{entry(1, events.Delivered), entry(3, events.Conflict)}, true, events.Conflict},
		{"the target holds a newer one", []wire.Entry{entry(2, events.Superseded, by(9, connectors.Stale, "409"))}, true, ""},
		{"it was delivered", []wire.Entry{entry(2, events.Delivered)}, true, ""},
		{"it was given up", []wire.Entry{entry(2, events.DeadLettered)}, true, ""},
		{"nothing is known", []wire.Entry{entry(1, events.Delivered)}, false, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			var rec wire.Record
			for i, e := range c.entries {
				rec.Add(e, wire.LogPosition{Seq: uint64(i + 1)})
			}
			w, ends := waited("cal", &rec, testkit.Number(2))
			if ends != c.ends || (w.Newest != nil) != (c.newest != "") || w.Newest != nil && w.Newest.Outcome != c.newest {
				t.Errorf("%+v, %t", w, ends)
			}
		})
	}
}
