package lanes

import (
	"errors"
	"testing"
	"time"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// What a record that lists eight outcomes says of updates that come again, and of ones
// that are new at a place that was given before (docs/adr/0032).
func TestJudgeWhatComesAgain(t *testing.T) {
	at := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	digest := versioning.Sum("upsert", nil)
	var rec wire.Record
	for v := range int64(20) { // version v at 10 v, settled a second after it was stored
		rec.Add(wire.Entry{Key: "k", Op: events.Upsert, Sequence: uint64(10 * (v + 1)), Settlement: events.Settlement{
			Version: testkit.Number(v + 1), Digest: digest, Outcome: events.Delivered, At: at.Add(time.Duration(v+1) * time.Minute),
		}}, wire.LogPosition{Seq: uint64(v + 1)})
	}
	var reset wire.Record
	reset.Add(wire.Entry{Key: "k", Settlement: events.Settlement{Outcome: wire.Reset}, Void: &wire.Void{
		Updates: wire.Mark{Sequence: 200, Stored: at.Add(time.Hour)},
	}}, wire.LogPosition{Seq: 21})
	for _, c := range []struct {
		name    string
		rec     wire.Record
		version int64
		seq     uint64
		stored  time.Duration // after at
		want    Step
	}{
		{"settled, and no longer listed", rec, 3, 30, 3*time.Minute - time.Second, Forgotten},
		{"settled, and listed", rec, 15, 150, 15*time.Minute - time.Second, Repeats},
		{"new and older than what was settled", rec, 3, 201, time.Hour, Settles},
		{"new, at a place that a restored broker gave again", rec, 21, 150, time.Hour, Calls},
		{"of before the reset", reset, 20, 200, time.Minute, Forgotten},
		{"of after the reset", reset, 1, 201, time.Hour + time.Second, Calls},
		{"of after the reset, at a place that was given again", reset, 1, 200, time.Hour + time.Second, Calls},
	} {
		t.Run(c.name, func(t *testing.T) {
			it := &Item{Tag: versioning.Tag{Version: testkit.Number(c.version), Digest: digest}, Seq: c.seq, Published: at.Add(c.stored)}
			if got := judge(it, &c.rec, false, 0); got.what != c.want {
				t.Errorf("step %d, want %d", got.what, c.want)
			}
		})
	}
	if got := judge(&Item{Reset: true, Malformed: errors.New("no update")}, &rec, true, 0); got.what != Forgotten {
		t.Errorf("the mark of a reset: step %d", got.what)
	}
}
