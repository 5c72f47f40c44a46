//go:build !race

package delivery

import (
	"testing"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/delivery/internal/flow"
	"github.com/hms-utl/extsync/pkg/events"
)

// The race detector changes what is allocated; this file is left out there.

// What one update allocates on its way through the worker, by step. A change that
// raises a figure is to be seen here, not in a benchmark some day. They hold for
// any machine, unlike times.
func TestAllocationsOfTheHotPath(t *testing.T) {
	names := events.DefaultNames()
	u := events.Update{Channel: "cal", Key: "k1", Version: testkit.Number(7), Payload: []byte(`{"content":"x"}`)}.WithDefaults()
	msg, err := wire.Encode(names, u)
	testkit.Must(t, err)
	subject := wire.StoredUpdate(names, events.ToChannel("cal"), "k1")
	var rec wire.Record
	entry := wire.Entry{Key: "k1", Op: u.Op, Settlement: events.Settlement{Version: testkit.Number(6), Digest: u.Digest(), Outcome: events.Delivered, At: timestamp()}}
	rec.Add(entry, wire.LogPosition{Seq: 1})
	var f flow.Floor
	group := wire.Group{Format: wire.Format, Channel: "cal", Worker: "w", At: timestamp(), Entries: []wire.Entry{entry}}
	buffer := make([]byte, 0, 1<<10)

	for _, step := range []struct {
		name string
		most float64
		run  func()
	}{
		{"decode an update", 5, func() { _, _ = wire.Decode(names, subject, msg.Header, msg.Data) }},
		{"its digest", 0, func() { _ = u.Tag() }},
		{"add an outcome to a record", 1, func() { r := rec; r.Add(entry, wire.LogPosition{Seq: 2}) }},
		{"encode a record", 0, func() { buffer, _ = rec.Append(buffer[:0]) }},
		{"encode an entry of the log", 0, func() { buffer, _ = group.Append(buffer[:0]) }},
		{"encode an ack", 0, func() { buffer, _ = entry.AppendAck(buffer[:0], "cal", "") }},
		{"settle in the floor", 1, func() { f.Add(f.Last()+1, 1); f.Done(f.Last()) }},
	} {
		if got := testing.AllocsPerRun(200, step.run); got > step.most {
			t.Errorf("%s: %v allocations, it was %v", step.name, got, step.most)
		}
	}
}
