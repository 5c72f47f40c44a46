package httpapi

import (
	"context"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/events"
)

// refresh is how old the configurations can be when the watch is silent.
const refresh = 10 * time.Second

// channelCache knows the quotas of all channels and topics without a round trip.
type channelCache struct {
	registry *channels.Registry

	mu     sync.Mutex
	known  map[string]*quota // by the id of the route
	loaded time.Time
}

type quota struct {
	channels.TopicQuota
	limiter *rate.Limiter // nil: no bound
}

func newChannelCache(ctx context.Context, registry *channels.Registry) (*channelCache, error) {
	c := &channelCache{registry: registry}
	return c, c.load(ctx)
}

func (c *channelCache) load(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, refresh)
	defer cancel()
	entries, err := c.registry.List(ctx)
	if entries == nil && err != nil { // else one that cannot be read hides no other
		return err
	}
	topics, err := c.registry.Topics(ctx)
	if topics == nil && err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	next := make(map[string]*quota, len(entries)+len(topics))
	add := func(id string, bound channels.TopicQuota) {
		q := &quota{TopicQuota: bound}
		if old := c.known[id]; old != nil && old.Rate == q.Rate {
			q.limiter = old.limiter
		} else if q.Rate > 0 {
			q.limiter = rate.NewLimiter(rate.Limit(q.Rate), max(1, int(q.Rate)))
		}
		next[id] = q
	}
	for _, e := range entries {
		add(e.Config.Name, channels.TopicQuota{Rate: e.Config.Quota.Rate, MaxPayload: e.Config.Quota.MaxPayload})
	}
	for _, t := range topics {
		add(events.ToTopic(t.Topic.Name).ID(), t.Topic.Quota)
	}
	c.known, c.loaded = next, time.Now()
	return nil
}

// keep follows changes until ctx ends.
func (c *channelCache) keep(ctx context.Context) {
	tick := time.NewTicker(refresh)
	defer tick.Stop()
	changes, _ := c.registry.Changes(ctx) // nil blocks; the tick tries again
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if changes == nil {
				changes, _ = c.registry.Changes(ctx)
			}
		case _, ok := <-changes:
			if !ok {
				changes = nil
			}
		}
		_ = c.load(ctx) // the next tick tries again; readyz tells if none succeeds
	}
}

// get returns the quota of a route; that of an unknown one has no bounds, and
// publishing says that it is unknown.
func (c *channelCache) get(r events.Route) *quota {
	c.mu.Lock()
	defer c.mu.Unlock()
	if q := c.known[r.ID()]; q != nil {
		return q
	}
	return &quota{}
}

// age is how long ago the configurations were read.
func (c *channelCache) age() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Since(c.loaded)
}
