package lanes

import (
	"testing"

	"github.com/hms-utl/extsync/pkg/channels"
)

// After a takeover twenty keys that fail were in front of the healthy ones, and the circuit
// stayed open until probes, up to ten seconds apart, had tried each of them.
func TestProbesReachHealthyKeysBehindThoseThatFail(t *testing.T) {
	r := newRig(t, channels.Latest)
	r.arrive("fails", 1)
	r.fail("fails")
	for _, key := range []string{"a", "b", "c", "d"} {
		r.arrive(key, 1)
	}
	r.m.Hurried() // the one that fails is ready, too
	var got []string
	for r.m.Fresh() {
		next, _ := r.m.Next(1, true)
		got = append(got, next[0].Head().Update.Key)
	}
	r.want("probes", got, "[a d b c]")
	r.want("left", r.m.ready.len(), 1)
}

// A resync had all calls of a channel, and what was published waited for the end of one.
func TestHalfOfTheCallsAreKeptForWhatIsLive(t *testing.T) {
	r := newRig(t, channels.Latest, func(o *Options) { o.Calls = 4 })
	r.m.Floor().StartAt(10, 0)
	rs := r.m.BeginResync(channels.ResyncProgress{})
	for seq := range uint64(5) {
		r.found(rs, string(rune('a'+seq)), 1, seq+1)
	}
	for range 2 {
		if next, behind := r.m.Next(1, false); len(next) != 1 || !behind {
			t.Fatalf("%d lanes, behind %t", len(next), behind)
		}
	}
	r.want("ready for a third call", r.m.Ready(), 0)
	r.seq = 10
	r.arrive("live", 1)
	if next, behind := r.m.Next(1, false); len(next) != 1 || behind || next[0].Key().Encoded() != "live" {
		t.Fatalf("%d lanes, behind %t", len(next), behind)
	}
	r.m.CallEnded(true)
	r.want("ready for another one", r.m.Ready(), 3)
}
