package app

import (
	"testing"
	"time"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// wait k@2 said that the target holds 2 or newer while it held nothing.
func TestWaitForASupersededVersion(t *testing.T) {
	entry := func(version int64, o events.Outcome, change ...func(*events.Entry)) events.Entry {
		v := testkit.Number(version)
		e := events.Entry{Key: "k", Op: events.Upsert, Settlement: events.Settlement{Version: v, Digest: versioning.Sum("upsert", []byte(v.String())), Outcome: o, At: time.Now()}}
		for _, c := range change {
			c(&e)
		}
		return e
	}
	by := func(version int64, class connectors.Class, code string) func(*events.Entry) {
		return func(e *events.Entry) { e.By, e.Class, e.Code = testkit.Number(version), class.String(), code }
	}
	superseded := entry(2, events.Superseded, by(3, connectors.Stale, events.CodeOlder))
	for _, c := range []struct {
		name    string
		entries []events.Entry
		ends    bool
		newest  events.Outcome
	}{
		{"the newer one is on its way", []events.Entry{superseded}, false, ""},
		{"the newer one fails", []events.Entry{superseded, entry(3, events.Retrying)}, false, ""},
		{"an older one is in flight", []events.Entry{entry(2, events.Superseded, by(3, connectors.Stale, events.CodeOlder), func(e *events.Entry) { e.Open = testkit.Number(1) })}, false, ""},
		{"the newer one was delivered", []events.Entry{superseded, entry(3, events.Delivered)}, true, ""},
		{"the newer one was given up", []events.Entry{superseded, entry(3, events.DeadLettered)}, true, events.DeadLettered},
		{"the newest was given up, one between delivered", []events.Entry{superseded, entry(3, events.Delivered), entry(4, events.DeadLettered)}, true, ""},
		{"by derivation, and given up", []events.Entry{entry(1, events.Delivered), entry(3, events.Conflict)}, true, events.Conflict},
		{"the target holds a newer one", []events.Entry{entry(2, events.Superseded, by(9, connectors.Stale, "409"))}, true, ""},
		{"it was delivered", []events.Entry{entry(2, events.Delivered)}, true, ""},
		{"it was given up", []events.Entry{entry(2, events.DeadLettered)}, true, ""},
		{"nothing is known", []events.Entry{entry(1, events.Delivered)}, false, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			var rec events.Record
			for i, e := range c.entries {
				rec.Add(e, events.LogPosition{Seq: uint64(i + 1)})
			}
			w, ends := waited("cal", &rec, testkit.Number(2))
			if ends != c.ends || (w.Newest != nil) != (c.newest != "") || w.Newest != nil && w.Newest.Outcome != c.newest {
				t.Errorf("%+v, %t", w, ends)
			}
		})
	}
}
