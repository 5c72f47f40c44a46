package conformance

import (
	"context"
	"fmt"

	"github.com/hms-utl/extsync/pkg/connectors"
)

// batchSize is how many attempts a batch of the suite has at most.
const batchSize = 20

// batch returns attempts for as many keys as the connector takes at once.
func (r *run) batch(c *connectors.Opened) []connectors.Attempt {
	n := batchSize
	if c.Can().Batches {
		n = min(n, c.MaxBatch())
	} else {
		r.Log("the connector takes no batches: the attempts are made one by one")
	}
	all := make([]connectors.Attempt, n)
	for i := range all {
		// The keys descend, so that a connector which sorts must sort its results
		// back.
		all[i] = r.upsert(fmt.Sprintf("%s%03d", r.prefix, n-i), number(int64(i)+10), "batch")
	}
	return all
}

// wholeBatch: one batch with every verdict in it gives each attempt its own.
func wholeBatch(r *run) {
	c := r.open()
	all := r.batch(c)
	if len(all) < 4 {
		r.Fatalf("MaxBatch is %d: a batch of less than 4 is not worth being one", len(all))
	}
	r.wantOK("a newer version of the first key", r.apply(c, r.upsert(all[0].Key, number(1000), "newer")))
	r.wantOK("the same version of the second key", r.apply(c, all[1]))
	all[2] = r.remove(all[2].Key, all[2].Version)
	ctx, cancel := context.WithTimeout(r.Context(), Timeout)
	defer cancel()
	for i, res := range r.applyAll(ctx, c, all...) {
		if i == 0 && r.refuses() {
			r.want("the overtaken one", res, connectors.Stale, number(1000))
			r.wantHeld(r.upsert(all[0].Key, number(1000), "newer"))
			continue
		}
		r.wantOK(all[i].Key, res)
		if i == 0 && c.Can().Guard == connectors.GuardNone {
			continue // it is beside the newer one
		}
		r.wantHeld(all[i])
	}
}

// oneBadInBatch: a bad update fails alone, and the others are applied once.
func oneBadInBatch(r *run) {
	if r.BadUpdate == nil {
		r.NotApplicable("it refuses no update for good (BadUpdate)")
		return
	}
	c := r.open()
	all := r.batch(c)
	bad := len(all) / 2
	u := all[bad].Update
	r.BadUpdate(&u)
	all[bad] = attempt(u)
	ctx, cancel := context.WithTimeout(r.Context(), Timeout)
	defer cancel()
	for i, res := range r.applyAll(ctx, c, all...) {
		if i == bad {
			if res.Class != connectors.Permanent && res.Class != connectors.Unready {
				r.Errorf("the bad one: class %s (code %q, error %v), want permanent or unready", res.Class, res.Code, res.Err)
			}
			r.wantAbsent(all[i].Key)
			continue
		}
		r.wantOK(all[i].Key, res)
		r.wantHeld(all[i])
		r.wantWrites(all[i].Key, 1)
	}
	if r.Writes == nil {
		r.NotApplicable("it does not count what it is sent (Writes): 'once' is not checked")
	}
}

// wantWrites checks how many calls took effect at the target for a key.
func (r *run) wantWrites(key string, want int) {
	r.Helper()
	if r.Writes == nil {
		return
	}
	if got := r.Writes(r.T, key); got != want {
		r.Errorf("%s: %d writes took effect, want %d", key, got, want)
	}
}
