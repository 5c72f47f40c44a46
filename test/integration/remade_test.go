package integration

import (
	"fmt"
	"testing"

	"github.com/hms-utl/extsync/internal/faults"
	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/why"
)

// stockDoc is what status says of a channel's keys.
type stockDoc struct {
	Keys, Outdated *int
	Reasons        []reasonDoc
}

func (r *rig) stock(channel string) stockDoc {
	r.t.Helper()
	var doc struct{ Channels []stockDoc }
	r.extsync("status", channel, "--json", "--interval", "200ms").decode(r.t, &doc)
	return doc.Channels[0]
}

// wantStock waits until status counts keys, and those that an older configuration made.
func (r *rig) wantStock(channel, when string, keys, outdated int) {
	r.t.Helper()
	testkit.Eventually(r.t, fmt.Sprintf("%s: %d of %d keys outdated", when, outdated, keys), func() bool {
		s := r.stock(channel)

		says := len(s.Reasons) == 1 && s.Reasons[0].Code == string(why.MappingChanged) && !s.Reasons[0].Alarm
		return s.Keys != nil && *s.Keys == keys && *s.Outdated == outdated && says == (outdated > 0)
	})
}

func (r *rig) reconfigure(channel string, change func(*channels.Config)) {
	r.t.Helper()
	e, err := r.registry.Get(r.t.Context(), channel)
	r.must(err)
	change(&e.Config)
	_, err = r.registry.Put(r.t.Context(), e.Config, e.Revision)
	r.must(err)
}

// After a change of its mapping or filter a channel said that all was well, while the target
// held what the older one had made. It is not in sync before a resync, and the keys are
// counted, also across workers that are killed.
func TestChangedMappingIsNotInSyncBeforeAResync(t *testing.T) {
	t.Parallel()
	const keys = 30
	r := newRig(t)
	tg := faults.NewHTTPTarget(t, faults.HTTPOptions{})
	r.channel("c", channels.Latest, "http", tg.Connector())
	w := r.worker("w1")
	r.publishKeys("c", keys, 1)
	r.wantStock("c", "delivered", keys, 0)

	r.reconfigure("c", func(c *channels.Config) { c.Concurrency = 3 })
	r.wantStock("c", "another concurrency makes nothing else", keys, 0)
	r.reconfigure("c", func(c *channels.Config) { c.Mapping = `. + {v: 2}` })
	r.wantStock("c", "another mapping", keys, keys)
	if state, why := r.whyPending("c", "k0"); state != "delivered" || why.Code != "mapping_changed" {
		t.Errorf("get says %q, %+v; want delivered, mapping_changed", state, why)
	}
	mustSay(t, "status", r.extsync("status", "c").ok(t), fmt.Sprintf("%d of %d keys", keys, keys), "extsync resync CHANNEL")

	r.publishKeys("c", 10, 2)
	r.wantStock("c", "ten keys delivered anew", keys, keys-10)
	w.Kill()
	r.worker("w2")
	r.publishKeys("c", 12, 3)
	r.wantStock("c", "two more, by another worker", keys, keys-12)

	r.extsync("resync", "c").ok(t)
	r.wantStock("c", "after a resync", keys, 0)
	if _, why := r.whyPending("c", "k0"); why.Code != "" {
		t.Errorf("get says %+v, want nothing", why)
	}
	// What the filter keeps back now was decided by it.
	r.reconfigure("c", func(c *channels.Config) { c.Filter = `false` })
	r.wantStock("c", "a filter that keeps all back", keys, keys)
	r.extsync("resync", "c").ok(t)
	r.wantStock("c", "after another resync", keys, 0)
	r.reconfigure("c", func(c *channels.Config) { c.Partitions = 1 })
	r.wantStock("c", "with another number of partitions", keys, 0)
}
