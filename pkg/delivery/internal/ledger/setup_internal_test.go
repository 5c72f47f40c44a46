package ledger

import (
	"testing"

	"github.com/hms-utl/extsync/internal/natsserver/natstest"
	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// newView returns a view of channel cal at a broker of its own.
func newView(t *testing.T) (*View, *natstest.Broker) {
	t.Helper()
	b := natstest.Run(t)
	names := events.DefaultNames()
	testkit.Must(t, channels.Provision(t.Context(), b.JS, names, channels.Storage{}))
	bucket, err := wire.OpenLedger(t.Context(), b.JS, names)
	testkit.Must(t, err)
	v := New(Options{
		JS: b.JS, Names: names, Ledger: bucket, Channel: "cal", ID: "CVT7Q2K4WZ3M", Shared: &Shared{},
		Content: 1, Records: wire.LedgerRecords(names, "cal"),
		Broken: func(err error) { t.Error(err) },
	})
	t.Cleanup(v.Close)
	return v, b
}

// delivered is the entry of an update that was delivered.
func delivered(key string, version int64) *wire.Entry {
	return &wire.Entry{Key: key, Settlement: events.Settlement{Version: testkit.Number(version), Outcome: events.Delivered}}
}

// place is a place in the outcome log.
func place(seq uint64) wire.LogPosition {
	return wire.LogPosition{Incarnation: 0x692a1b2c00000001, Seq: seq}
}

// dirtyKey applies an outcome of key k.
func (v *View) dirtyKey(t *testing.T) *Key {
	t.Helper()
	k := v.Pin("k")
	testkit.Must(t, v.Load(t.Context(), []*Key{k}))
	apply(v, k, delivered("k", 1), place(1))
	v.Unpin(k)
	return k
}

// locked runs f with the view's lock held.
func (v *View) locked(f func()) {
	v.mu.Lock()
	defer v.mu.Unlock()
	f()
}

// apply applies a group of one entry.
func apply(v *View, k *Key, e *wire.Entry, at wire.LogPosition) (before versioning.Version) {
	v.Group(at, func(g Group) { before = g.Apply(k, e) })
	return before
}
