package conformance

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// The size of the parallel cases.
const (
	writers      = 8
	parallelKeyN = 50
	slowKeyN     = 12
	versionsEach = writers // in the raced case every writer has one of them
	// settleTime is how long one attempt is tried again while the target says that
	// it is busy.
	settleTime = 20 * time.Second
)

// permuted returns the versions 1..versionsEach in a random order that the seed
// in the test log repeats.
func permuted(rng *rand.Rand) []versioning.Version {
	out := make([]versioning.Version, versionsEach)
	for i, p := range rng.Perm(versionsEach) {
		out[i] = number(int64(p) + 1)
	}
	return out
}

func (r *run) seeds() [writers]*rand.Rand {
	seed := rand.Uint64()
	r.Logf("seed %d", seed)
	var out [writers]*rand.Rand
	for i := range out {
		out[i] = rand.New(rand.NewPCG(seed, uint64(i)))
	}
	return out
}

func (r *run) manyKeys() []string {
	n := parallelKeyN
	if r.Slow {
		n = slowKeyN
	}
	keys := make([]string, n)
	for i := range keys {
		keys[i] = fmt.Sprintf("%s%02d", r.prefix, i)
	}
	return keys
}

// parallelKeys: eight callers of one connector, never two on one key, as the
// engine does it. Each key gets its versions in a random order; a target that
// refuses nothing gets only those that are newer, as the engine would see to.
func parallelKeys(r *run) {
	c, keys, seeds := r.open(), r.manyKeys(), r.seeds()
	watch := r.watch(keys)
	r.inParallel(func(w int) {
		for i := w; i < len(keys); i += writers {
			var newest versioning.Version
			for _, v := range permuted(seeds[w]) {
				newer := isNewer(v, newest)
				if !newer && !r.refuses() {
					continue
				}
				res := r.settle(c, r.upsert(keys[i], v, "parallel"))
				if newer {
					r.wantOK(keys[i], res)
					newest = v
				} else {
					r.want(keys[i], res, connectors.Stale, newest)
				}
			}
		}
	})
	watch()
	r.wantNewest(keys)
}

// sameKeys: eight workers that each believe to own every key, as after a freeze,
// meet on one key after the other. Every version is sent by two of them. Whatever
// the order, the target never steps back and ends at the maximum (guarantees 2
// and 4). The versions of every second key have the same content: a target whose
// condition is on a hash of the content takes them for one another.
func sameKeys(r *run) {
	if !r.Guarded {
		r.NotApplicable("it does not refuse older versions when writers meet (Guarded)")
		return
	}
	keys, rng := r.manyKeys(), r.seeds()[0]
	var each [writers]*connectors.Opened
	for i := range each {
		each[i] = r.open()
	}
	watch := r.watch(keys)
	for i, key := range keys {
		first, second := permuted(rng), permuted(rng)
		content := r.upsert
		if i%2 == 1 {
			content = r.unchanged
		}
		r.inParallel(func(w int) {
			for _, v := range []versioning.Version{first[w], second[w]} {
				r.checkRaced(r.settle(each[w], content(key, v, "raced")), v)
			}
		})
	}
	watch()
	r.wantNewest(keys)
}

// checkRaced checks one answer where others write the same key: applied, or
// refused because of something newer.
func (r *run) checkRaced(res connectors.Result, v versioning.Version) {
	switch {
	case res.Class == connectors.OK:
	case res.Class == connectors.Stale && isNewer(res.Held.Version, v):
	default:
		r.Errorf("version %s: class %s, held %q, error %v; want ok, or stale with a newer version held",
			v, res.Class, res.Held.Version, res.Err)
	}
}

func isNewer(v, w versioning.Version) bool {
	order, err := v.Compare(w)
	return err == nil && order > 0
}

// inParallel calls f once for each writer and waits for all.
func (r *run) inParallel(f func(writer int)) {
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() { f(w) })
	}
	wg.Wait()
}

// settle repeats an attempt while the target is busy, as the engine would: a
// deadlock or a lock that was not free is no fault of the connector.
func (r *run) settle(c *connectors.Opened, a connectors.Attempt) connectors.Result {
	deadline := time.Now().Add(settleTime)
	for {
		ctx, cancel := context.WithTimeout(r.Context(), Timeout)
		res := r.applyAll(ctx, c, a)[0]
		cancel()
		busy := res.Class == connectors.Transient || res.Class == connectors.Throttled
		if !busy || time.Now().After(deadline) {
			return res
		}
		a.Number++
	}
}

// watch reads the keys over and over until the returned function is called, and
// fails the test if a version ever decreases.
func (r *run) watch(keys []string) (stop func()) {
	if r.Read == nil {
		r.NotApplicable("nobody can tell what it holds (Read): that no version steps back is seen by its answers only")
		return func() {}
	}
	ctx, cancel := context.WithCancel(r.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		seen := map[string]versioning.Version{}
		pause := time.NewTicker(5 * time.Millisecond)
		defer pause.Stop()
		for looks := 1; ; looks++ {
			for key, held := range r.holds(keys...) {
				if isNewer(seen[key], held.Version) {
					r.Errorf("%s stepped back from %s to %s", key, seen[key], held.Version)
				}
				seen[key] = held.Version
			}
			select {
			case <-ctx.Done():
				r.Logf("the target was looked at %d times", looks)
				return
			case <-pause.C:
			}
		}
	}()
	return func() {
		cancel()
		<-done
	}
}

// wantNewest checks that every key ended at its maximum.
func (r *run) wantNewest(keys []string) {
	r.Helper()
	if r.Read == nil {
		return
	}
	held := r.holds(keys...)
	for _, key := range keys {
		if held[key].Version != number(versionsEach) {
			r.Errorf("%s ended at %q, want %d", key, held[key].Version, versionsEach)
		}
	}
}
