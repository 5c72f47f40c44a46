package operate

import (
	"testing"
	"time"

	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

func TestDescribe(t *testing.T) {
	tag := func(n int64) versioning.Tag {
		return versioning.Tag{Version: versioning.Must(versioning.Number(n)), Digest: versioning.Sum("upsert", []byte{byte(n)})}
	}
	entry := func(n int64, o events.Outcome) wire.Entry {
		return wire.Entry{Key: "k", Op: events.Upsert, Settlement: events.Settlement{
			Version: tag(n).Version, Digest: tag(n).Digest, Outcome: o, Attempts: 3, Class: "permanent", Code: "422", Message: "no", At: time.Unix(1, 0),
		}, NextAttempt: time.Unix(9, 0)}
	}
	head := func(n int64) wire.Entry { // tells the newest that is parked
		e := entry(n, wire.Parked)
		e.Attempts, e.Class, e.NextAttempt, e.Head = 0, "", time.Time{}, true
		return e
	}
	copyOf := func(n int64) Copy { return Copy{Version: tag(n).Version, Digest: tag(n).Digest} }

	tests := map[string]struct {
		head    Copy
		entries []wire.Entry
		state   string
		newest  versioning.Version
		target  versioning.Version
		failed  bool // an error is shown
		retry   bool // a next attempt is shown
	}{
		"nothing":                      {state: StateAbsent},
		"published only":               {head: copyOf(1), state: StatePending, newest: tag(1).Version},
		"delivered":                    {copyOf(1), []wire.Entry{entry(1, events.Delivered)}, "delivered", tag(1).Version, tag(1).Version, false, false},
		"delivered and gone":           {Copy{}, []wire.Entry{entry(1, events.Delivered)}, "delivered", tag(1).Version, tag(1).Version, false, false},
		"newer waits":                  {copyOf(2), []wire.Entry{entry(1, events.Delivered)}, StatePending, tag(2).Version, tag(1).Version, false, false},
		"retrying":                     {copyOf(2), []wire.Entry{entry(1, events.Delivered), entry(2, wire.Retrying)}, "retrying", tag(2).Version, tag(1).Version, true, true},
		"parked before any outcome":    {Copy{}, []wire.Entry{entry(1, wire.Parked)}, "parked", tag(1).Version, versioning.Version{}, true, true},
		"parked behind a delivered":    {Copy{}, []wire.Entry{entry(1, events.Delivered), entry(2, wire.Parked)}, "parked", tag(2).Version, tag(1).Version, true, true},
		"dead letter":                  {copyOf(2), []wire.Entry{entry(1, events.Delivered), entry(2, events.DeadLettered)}, "dead_lettered", tag(2).Version, tag(1).Version, true, false},
		"conflict":                     {copyOf(1), []wire.Entry{entry(1, events.Conflict)}, "conflict", tag(1).Version, versioning.Version{}, true, false},
		"dead letter and gone":         {Copy{}, []wire.Entry{entry(1, events.Delivered), entry(2, events.DeadLettered)}, "dead_lettered", tag(2).Version, tag(1).Version, true, false},
		"overtaken before it was read": {copyOf(1), []wire.Entry{entry(2, events.Delivered)}, "delivered", tag(2).Version, tag(2).Version, false, false},
		"newer ones parked behind it":  {Copy{}, []wire.Entry{entry(1, events.Delivered), entry(2, wire.Parked), head(5)}, "parked", tag(5).Version, tag(1).Version, true, true},
		"the parked ones are left":     {Copy{}, []wire.Entry{entry(2, wire.Parked), head(5), entry(2, events.Delivered)}, StatePending, tag(5).Version, tag(2).Version, false, false},
		"behind a replay in the queue": {copyOf(1), []wire.Entry{entry(1, events.DeadLettered), entry(3, wire.Parked)}, "parked", tag(3).Version, versioning.Version{}, true, true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var rec wire.Record
			for i, e := range tt.entries {
				rec.Add(e, wire.LogPosition{Seq: uint64(i + 1)})
			}
			w := Whereabouts{State: StateAbsent}
			w.describe(tt.head, rec)
			if w.State != tt.state || w.Newest.Version != tt.newest || w.Target.Version != tt.target {
				t.Errorf("state %s, newest %v, target %v; want %s, %v, %v", w.State, w.Newest.Version, w.Target.Version, tt.state, tt.newest, tt.target)
			}
			if (w.Error != nil) != tt.failed || w.NextAttempt.IsZero() == tt.retry {
				t.Errorf("error %+v, next attempt %v", w.Error, w.NextAttempt)
			}
		})
	}
}
