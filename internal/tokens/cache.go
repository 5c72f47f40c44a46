package tokens

import (
	"context"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/time/rate"
)

const (
	// relist is how long a change can stay unseen when the watch is silent, as it
	// can be after the broker was restarted.
	relist = 10 * time.Second
	// missesPerSecond bounds how often unknown tokens make us ask the broker.
	missesPerSecond = 20
)

// A Cache answers for tokens from memory, so that a request costs no round trip.
// It is safe for concurrent use.
type Cache struct {
	store  *Store
	misses *rate.Limiter

	mu     sync.Mutex
	tokens map[string]*cached
	// required stays true once there was a token: revoking the last one must not
	// open the API.
	required bool
}

type cached struct {
	Token
	limiter *rate.Limiter
}

// NewCache reads all tokens. Keep keeps it up to date.
func NewCache(ctx context.Context, store *Store) (*Cache, error) {
	c := &Cache{store: store, misses: rate.NewLimiter(missesPerSecond, missesPerSecond), tokens: map[string]*cached{}}
	return c, c.load(ctx)
}

// Keep follows changes until ctx ends.
func (c *Cache) Keep(ctx context.Context) {
	tick := time.NewTicker(relist)
	defer tick.Stop()
	changes := c.watch(ctx)
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if changes == nil {
				changes = c.watch(ctx)
			}
		case _, ok := <-changes:
			if !ok {
				changes = nil
			}
		}
		_ = c.load(ctx) // the next tick tries again; what is known stays
	}
}

func (c *Cache) watch(ctx context.Context) <-chan jetstream.KeyValueEntry {
	w, err := c.store.kv.WatchAll(ctx, jetstream.UpdatesOnly(), jetstream.MetaOnly())
	if err != nil {
		return nil
	}
	return w.Updates()
}

func (c *Cache) load(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, relist)
	defer cancel()
	list, err := c.store.List(ctx)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	next := make(map[string]*cached, len(list))
	for _, t := range list {
		next[t.ID] = c.entry(t)
	}
	c.tokens, c.required = next, c.required || len(next) > 0
	return nil
}

// entry keeps the limiter of a token that is known. The caller holds the lock.
func (c *Cache) entry(t Token) *cached {
	if old := c.tokens[t.ID]; old != nil && old.Rate == t.Rate {
		return &cached{Token: t, limiter: old.limiter}
	}
	return &cached{Token: t, limiter: rate.NewLimiter(rate.Limit(t.Rate), max(1, int(t.Rate)))}
}

// Required reports whether there are tokens, or were since the start.
func (c *Cache) Required() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.required
}

// Authenticate returns the token that a text stands for, with its rate limiter.
// ErrNotFound says that it is unknown, wrong, revoked or expired; which of them is
// nobody's business.
func (c *Cache) Authenticate(ctx context.Context, text string) (*Token, *rate.Limiter, error) {
	id, secret, ok := Split(text)
	if !ok {
		return nil, nil, ErrNotFound
	}
	t, err := c.find(ctx, id)
	if err != nil {
		return nil, nil, err
	}
	if !t.Matches(secret) || t.Expired(time.Now()) {
		return nil, nil, ErrNotFound
	}
	return &t.Token, t.limiter, nil
}

func (c *Cache) find(ctx context.Context, id string) (*cached, error) {
	c.mu.Lock()
	t := c.tokens[id]
	c.mu.Unlock()
	if t != nil {
		return t, nil
	}
	if !c.misses.Allow() { // it may be new, or somebody is guessing
		return nil, ErrNotFound
	}
	found, err := c.store.Get(ctx, id)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.tokens[id] == nil {
		c.tokens[id] = c.entry(found)
	}
	c.required = true
	return c.tokens[id], nil
}

// Valid reports whether a token is still there and has not expired, for answers
// that take long.
func (c *Cache) Valid(id string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.tokens[id]
	return t != nil && !t.Expired(time.Now())
}
