package integration

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/hms-utl/extsync/internal/faults"
	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// A worker that is frozen for longer than its lease and then goes on starts no
// call any more; what it had put on the wire before is refused by a target that
// can (guarantee 2).
func TestFrozenWorkersThatGoOn(t *testing.T) {
	t.Parallel()
	for _, mode := range []channels.Mode{channels.Latest, channels.Every} {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			rounds := sized(t, "rounds", 2, 15)
			r := newRig(t)
			tg := faults.NewHTTPTarget(t, faults.HTTPOptions{Guarded: true, Seed: 2})
			trouble := tenPercent()
			trouble.Delay = 20 * time.Millisecond
			tg.Cause(trouble)
			r.channel("c", mode, "http", tg.Connector())
			workers := []*faults.Process{r.worker("w0"), r.worker("w1")}
			frozenFor := 2*leaseTTL + time.Second
			p := r.publish(load{channel: "c", keys: 60, updates: rounds * 1500, over: time.Duration(rounds) * (frozenFor + 2*time.Second)})

			var absences []faults.Absence
			dice := rand.New(rand.NewPCG(3, 4))
			for range rounds {
				w := workers[dice.IntN(len(workers))]
				writing(r, tg, w.Name)
				from := tg.Now()
				w.Freeze()
				r.pass(frozenFor)
				absences = append(absences, faults.Absence{Worker: w.Name, From: from, To: tg.Now()})
				w.Thaw()
				r.pass(time.Second)
			}
			r.check("c", mode, p.wait(r), func() (faults.History, error) {
				h := tg.History()
				h.Absences = absences
				return h, nil
			})
			late := lateCalls(tg.History(), absences)
			t.Logf("%d calls came late", late)
			if most := 16 * rounds; late > most { // the channel's concurrency, each time
				t.Errorf("%d calls were made by workers that had lost their leases; %d could have been on the wire", late, most)
			}
		})
	}
}

// writing waits until a worker has calls at the target.
func writing(r *rig, tg *faults.HTTPTarget, worker string) {
	r.t.Helper()
	since := tg.Now()
	testkit.Eventually(r.t, worker+" calls the target", func() bool {
		calls := tg.History().Calls
		return slices.ContainsFunc(calls, func(c faults.Call) bool { return c.Worker == worker && c.From > since })
	})
}

// lateCalls counts the calls that a worker made after its absence for a version
// that another worker had applied during it.
func lateCalls(h faults.History, absences []faults.Absence) int {
	late := 0
	for _, a := range absences {
		applied := map[string]versioning.Version{}
		for _, w := range h.Writes {
			if w.Worker != a.Worker && w.At > a.From && w.At < a.To {
				applied[w.Key] = w.Version
			}
		}
		for _, c := range h.Calls {
			if c.Worker != a.Worker || c.From < a.To || c.From > a.To+leaseTTL {
				continue
			}
			if order, err := c.Version.Compare(applied[c.Key]); err == nil && order <= 0 {
				late++
			}
		}
	}
	return late
}

// A worker that loses the broker in the middle of a long call gives the call up
// with its lease; only then another worker makes it (guarantee 2).
func TestCutOffDuringALongCall(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		cut  func(*faults.Proxy)
	}{
		{"connections end", (*faults.Proxy).Cut},
		{"packets vanish", (*faults.Proxy).Freeze},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			long := sized(t, "length of the call", 6*time.Second, 28*time.Second)
			r := newRig(t)
			tg := faults.NewHTTPTarget(t, faults.HTTPOptions{})
			r.channel("c", channels.Every, "http", tg.Connector())
			proxy := faults.NewProxy(t, r.url[len("nats://"):])
			r.workerAt("cut", "nats://"+proxy.Addr())
			release := tg.Hold("k")
			accepted := []faults.Accepted{r.accept(update("c", "k", 1, 0)), r.accept(update("c", "k", 2, 0))}
			testkit.Eventually(t, "the call", func() bool { calls, _, _ := tg.Counts(); return calls == 1 })
			started := tg.Now()
			tt.cut(proxy)
			r.worker("other")
			testkit.Eventually(t, "the call of the other worker", func() bool { calls, _, _ := tg.Counts(); return calls == 2 })
			r.pass(long - (tg.Now() - started))
			release()
			log := r.settled("c", accepted, settleWithin)
			proxy.Heal()
			late := []faults.Accepted{r.accept(update("c", "k", 3, 0))}
			r.must(log.Await(t.Context(), late))
			r.stopWorkers()
			r.verify(log, channels.Every, append(accepted, late...), func() (faults.History, error) { return tg.History(), nil })
			first := tg.History().Calls[0]
			if took := first.To - started; first.Answer != "gone" || took > leaseTTL+time.Second {
				t.Errorf("the call of the worker that was cut off ended %s after that as %q; its lease is %s", took, first.Answer, leaseTTL)
			}
		})
	}
}

// A network between worker and broker that is slow, cut, and silent in turn does
// no harm; the worker recovers by itself.
func TestNetworkToTheBrokerBreaks(t *testing.T) {
	t.Parallel()
	for _, mode := range []channels.Mode{channels.Latest, channels.Every} {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			rounds := sized(t, "rounds", 1, 8)
			r := newRig(t)
			tg := faults.NewHTTPTarget(t, faults.HTTPOptions{Seed: 5})
			tg.Cause(tenPercent())
			r.channel("c", mode, "http", tg.Connector())
			proxy := faults.NewProxy(t, r.url[len("nats://"):])
			for i := range 2 {
				r.workerAt(fmt.Sprintf("w%d", i), "nats://"+proxy.Addr())
			}
			p := r.publish(load{channel: "c", keys: 60, updates: rounds * 2000, over: time.Duration(rounds) * 12 * time.Second})
			for range rounds {
				r.pass(time.Second)
				proxy.Slow(50 * time.Millisecond)
				r.pass(2 * time.Second)
				proxy.Cut()
				r.pass(time.Second)
				proxy.Heal()
				r.pass(time.Second)
				proxy.Freeze()
				r.pass(leaseTTL + time.Second)
				proxy.Heal()
			}
			r.check("c", mode, p.wait(r), func() (faults.History, error) { return tg.History(), nil })
		})
	}
}
