package feed

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/events"
)

func TestNewestMessageUpToASequence(t *testing.T) {
	b := newBench(t, channels.Config{Mode: channels.Latest})
	const all = 60
	b.publish(t, all)
	var left []uint64
	for seq := uint64(1); seq <= all; seq++ {
		if seq < 4 || seq > 20 && seq < 45 || seq%7 == 0 {
			testkit.Must(t, b.stream.DeleteMsg(t.Context(), seq))
			continue
		}
		left = append(left, seq)
	}
	for most := uint64(1); most <= all+3; most++ {
		var want uint64
		for _, seq := range left {
			if seq <= most {
				want = seq
			}
		}
		got, err := wire.LastUpTo(t.Context(), b.JS, wire.UpdateStream(b.names, events.ToChannel("cal")), wire.StoredUpdates(b.names, events.ToChannel("cal")), most)
		testkit.Must(t, err)
		if got == nil && want != 0 || got != nil && got.Sequence != want {
			t.Errorf("up to %d: %+v, want %d", most, got, want)
		}
	}
	testkit.Must(t, b.stream.Purge(t.Context()))
	if got, err := wire.LastUpTo(t.Context(), b.JS, wire.UpdateStream(b.names, events.ToChannel("cal")), wire.StoredUpdates(b.names, events.ToChannel("cal")), all); got != nil || err != nil {
		t.Errorf("nothing is left: %+v, %v", got, err)
	}
}

func TestFloorThatContradictsTheStream(t *testing.T) {
	b := newBench(t, channels.Config{Mode: channels.Latest})
	b.publish(t, 10)
	info, err := b.stream.Info(t.Context())
	testkit.Must(t, err)
	msg, err := b.stream.GetMsg(t.Context(), 8)
	testkit.Must(t, err)
	stored := msg.Time.UnixNano()
	testkit.Must(t, b.stream.DeleteMsg(t.Context(), 8)) // a newer version has taken its place
	for _, tt := range []struct {
		name        string
		floor, last uint64
		storedAt    int64
		contradicts bool
	}{
		{"of the stream", 8, 10, stored, false},
		{"at its end", 10, 10, stored + int64(time.Second), false},
		{"not known when", 8, 8, 0, false},
		{"nothing was settled", 0, 0, 0, false},
		{"clocks differ a little", 8, 8, stored - int64(clockSlack)/2, false},
		{"given again", 8, 8, stored - int64(time.Second), true},
		{"past the end", 11, 11, stored, true},
		{"more came than there is", 8, 11, stored, true},
	} {
		why, err := b.contradiction(t.Context(), info, Floor{Seq: tt.floor, Stored: tt.storedAt, Last: tt.last})
		if err != nil || (why != "") != tt.contradicts {
			t.Errorf("%s: %q, %v", tt.name, why, err)
		}
	}
}

// A stream that ends before what came from it is not the one that it was, and one that was
// made again is another one.
func TestStreamThatIsNotTheOneThatItWas(t *testing.T) {
	b := newBench(t, channels.Config{Mode: channels.Latest})
	b.publish(t, 3)
	b.open(t)
	b.taken.last = 3
	testkit.Must(t, b.Renew(t.Context()))
	if len(b.older) != 0 {
		t.Errorf("found %q in the stream as it is", b.older)
	}
	b.taken.last = 4
	if err := b.Renew(t.Context()); !errors.Is(err, ErrOlder) || len(b.older) != 1 {
		t.Errorf("%v, told %q; want %v, told once", err, b.older, ErrOlder)
	}
	testkit.Must(t, b.JS.DeleteStream(t.Context(), wire.UpdateStream(b.names, events.ToChannel("cal"))))
	_, err := b.JS.CreateStream(t.Context(), b.stream.CachedInfo().Config)
	testkit.Must(t, err)
	if err := b.Renew(t.Context()); !errors.Is(err, ErrReplaced) {
		t.Errorf("%v, want %v", err, ErrReplaced)
	}
	if from, found, err := b.Look(t.Context(), Floor{Seq: 3}, 1); from != (Floor{}) || found != "" || err != nil {
		t.Errorf("%+v, %q, %v; want a floor of another stream not to count", from, found, err)
	}
}

// Brokers' clocks differ by a second: one stores an update of another partition, then one
// that is behind stores ours, up to which all is settled. Nothing was restored. Only what
// is of this partition shows that.
func TestBrokersClocksThatDifferAreNoRestore(t *testing.T) {
	b := newBench(t, channels.Config{Mode: channels.Latest, Partitions: 4})
	stored := func(owned bool) (at time.Time, seq uint64) {
		for i := 0; ; i++ {
			key := fmt.Sprint("k", i)
			if (wire.Partition(key, 4) == 0) != owned {
				continue
			}
			ack, err := b.JS.Publish(t.Context(), b.names.Update(events.ToChannel("cal"), key), nil)
			testkit.Must(t, err)
			msg, err := b.stream.GetMsg(t.Context(), ack.Sequence)
			testkit.Must(t, err)
			return msg.Time, ack.Sequence
		}
	}
	for _, owned := range []bool{false, true} {
		at, seq := stored(owned)
		info, err := b.stream.Info(t.Context())
		testkit.Must(t, err)
		why, err := b.contradiction(t.Context(), info, Floor{Seq: seq, Stored: at.Add(-time.Second).UnixNano(), Last: seq})
		testkit.Must(t, err)
		if alarm := why != ""; alarm != owned {
			t.Errorf("a message of this partition: %v; alarm %q", owned, why)
		}
	}
}
