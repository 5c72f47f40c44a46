package integration

import (
	"testing"
	"time"

	"github.com/hms-utl/extsync/internal/faults"
	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/connectors"
)

// One key of ten is held at the target: the other nine settle all of their
// updates before it is let go (guarantee 7).
func TestOneHeldKeyHoldsNoOther(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		mode   channels.Mode
		window int // of updates a partition holds; the held key has a tenth of all updates
	}{
		{"latest", channels.Latest, 1024},
		{"every", channels.Every, 1024},
		{"every, more than the window of the held key", channels.Every, 64},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			updates := sized(t, "updates", 1000, 10_000)
			r := newRig(t)
			tg := faults.NewHTTPTarget(t, faults.HTTPOptions{})
			r.channel("c", tt.mode, "http", tg.Connector(), func(c *channels.Config) {
				c.Partitions, c.Window, c.Timeout = 1, tt.window, connectors.Duration(2*time.Second)
			})
			release := tg.Hold("k0")
			defer release()
			r.worker("w0")
			accepted := r.publish(load{channel: "c", keys: 10, updates: updates}).wait(r)
			var others []faults.Accepted
			for _, a := range accepted {
				if a.Key != "k0" {
					others = append(others, a)
				}
			}
			r.settled("c", others, testkit.Patience)
			if _, there := tg.History().Held["k0"]; there {
				t.Fatal("the held key was written")
			}
			release()
			r.check("c", tt.mode, accepted, func() (faults.History, error) { return tg.History(), nil })
		})
	}
}

// The target of one channel hangs: the other channels of the same worker do not
// notice (guarantee 7).
func TestHangingTargetHoldsNoOtherChannel(t *testing.T) {
	t.Parallel()
	updates := sized(t, "updates", 500, 20_000)
	r := newRig(t)
	hangs, well := faults.NewHTTPTarget(t, faults.HTTPOptions{}), faults.NewHTTPTarget(t, faults.HTTPOptions{})
	r.channel("hangs", channels.Every, "http", hangs.Connector())
	r.channel("well", channels.Every, "http", well.Connector())
	release := hangs.Hold("")
	defer release()
	r.worker("w0")
	stuck := r.publish(load{channel: "hangs", keys: 50, updates: updates})
	fine := r.publish(load{channel: "well", keys: 50, updates: updates}).wait(r)
	log := r.settled("well", fine, testkit.Patience)
	if _, writes, most := hangs.Counts(); writes != 0 || most == 0 || most > 16 {
		t.Errorf("the target that hangs has %d writes and had %d calls at once", writes, most)
	}
	release()
	accepted := stuck.wait(r)
	r.settled("hangs", accepted, settleWithin)
	r.stopWorkers()
	r.verify(log, channels.Every, fine, func() (faults.History, error) { return well.History(), nil })
	r.verify(faults.NewLogReader(r.js, r.names, "hangs"), channels.Every, accepted,
		func() (faults.History, error) { return hangs.History(), nil })
}

// outageSize says what is published while a target is down.
type outageSize struct{ updates, keys, window int }

// A target is down while a channel's keys change again and again. Then it gets
// about one write per key, and the worker's memory has not grown with what was
// published (guarantee 7).
func TestOutageEndsInOneDeliveryPerKey(t *testing.T) {
	t.Parallel()
	size := sized(t, "updates, keys, window", outageSize{20_000, 500, 64}, outageSize{1_000_000, 10_000, 1024})
	r := newRig(t)
	tg := faults.NewHTTPTarget(t, faults.HTTPOptions{})
	tg.Cause(faults.Trouble{Errors: 1})
	r.channel("c", channels.Latest, "http", tg.Connector(), func(c *channels.Config) { c.Window = size.window })
	w := r.worker("w0")
	first := r.publish(load{channel: "c", keys: size.keys, updates: size.keys}).wait(r)
	testkit.Eventually(t, "the target was tried", func() bool { calls, _, _ := tg.Counts(); return calls >= 5 })
	before, err := w.Resident()
	r.must(err)

	p := r.publish(load{channel: "c", keys: size.keys, updates: size.updates, from: 1})
	most := before
	for p.running(size.updates) {
		now, err := w.Resident()
		r.must(err)
		most = max(most, now)
		r.pass(100 * time.Millisecond)
	}
	accepted := append(first, p.wait(r)...)
	t.Logf("memory of the worker: %d KiB before, %d KiB at most", before>>10, most>>10)
	const room = 64 << 20 // the collector's slack; the updates themselves would not fit
	if most > before+room {
		t.Errorf("the worker grew from %d to %d bytes while its target was down", before, most)
	}
	if _, writes, _ := tg.Counts(); writes != 0 {
		t.Errorf("%d writes while the target was down", writes)
	}
	tg.Cause(faults.Trouble{})
	r.check("c", channels.Latest, accepted, func() (faults.History, error) { return tg.History(), nil })
	if _, writes, _ := tg.Counts(); writes > size.keys+size.keys/20 {
		t.Errorf("%d writes for %d keys", writes, size.keys)
	}
}
