package tokens

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

const (
	// look is how often new records are asked for: how long a revoked token counts.
	look = 2 * time.Second
	// readTimeout bounds each reading.
	readTimeout = 10 * time.Second
	// missesPerSecond bounds how often unknown tokens make us ask the broker.
	missesPerSecond = 20
)

// A Cache answers for tokens from memory, so that a request costs no round trip.
// What it has seen signed it does not forget: while it runs, a broker that comes back
// older, or empty, neither brings a revoked token back nor ends one that is valid.
// It is safe for concurrent use.
type Cache struct {
	store  *Store // nil: there are no keys, so no token is valid
	misses *rate.Limiter

	seen position // up to where all is known; of load

	mu     sync.Mutex
	book   *book
	limits map[string]*rate.Limiter // by token
}

// NewCache reads all tokens. Keep keeps it up to date.
func NewCache(ctx context.Context, store *Store) (*Cache, error) {
	c := &Cache{store: store, misses: rate.NewLimiter(missesPerSecond, missesPerSecond), book: newBook(), limits: map[string]*rate.Limiter{}}
	for {
		before := c.seen
		if err := c.load(ctx); err == nil || ctx.Err() != nil || c.seen == before {
			return c, err
		}
	}
}

// NoTokens returns a cache for a process that has no keys: no token is valid, and none
// is asked for.
func NoTokens() *Cache { return new(Cache) }

// Keep follows what is stored until ctx ends.
func (c *Cache) Keep(ctx context.Context) {
	if c.store == nil {
		return
	}
	tick := time.NewTicker(look)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			_ = c.load(ctx) // the next tick tries again; what is known stays
		}
	}
}

// load adds what is new to what is known. It reads everything if the broker's stream
// is not the one of before.
func (c *Cache) load(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	at, err := c.store.position(ctx)
	if err != nil {
		return err
	}
	found, again := newBook(), true
	if at.made.Equal(c.seen.made) && at.last >= c.seen.last {
		found.next, again = c.seen.last+1, false
	}
	if found.next <= at.last {
		err = c.store.read(ctx, found, ">")
	}
	// What was read before an error counts: of many records, each time begins where the last ended.
	c.learn(found)
	c.seen = position{made: at.made, last: found.next - 1}
	if err == nil {
		c.seen.last = max(at.last, c.seen.last)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if again {
		c.book.foreign = 0
	}
	c.book.foreign += found.foreign
	return err
}

func (c *Cache) learn(found *book) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, at := range found.revoked {
		c.book.add(nil, &revocation{ID: id, At: at})
		delete(c.limits, id)
	}
	for _, t := range found.tokens {
		c.book.add(&t, nil)
	}
}

// Required reports whether a request needs a token: if there are keys, whether or not
// there is a token yet.
func (c *Cache) Required() bool { return c.store != nil }

// Foreign returns how many records were found that no administrator's key has signed.
func (c *Cache) Foreign() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.book.foreign
}

// Authenticate returns the token that a text stands for, with its rate limiter.
// ErrNotFound says that it is unknown, wrong, revoked or expired; which of them is
// nobody's business.
func (c *Cache) Authenticate(ctx context.Context, text string) (*Token, *rate.Limiter, error) {
	id, secret, ok := Split(text)
	if !ok || c.store == nil {
		return nil, nil, ErrNotFound
	}
	t, limiter, err := c.look(ctx, id)
	if err != nil {
		return nil, nil, err
	}
	if t == nil || !t.Matches(secret) || t.Expired(time.Now()) {
		return nil, nil, ErrNotFound
	}
	return t, limiter, nil
}

// find returns a token that is known and its limiter, or that it was revoked.
func (c *Cache) find(id string) (t *Token, limiter *rate.Limiter, revoked bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	known, ok := c.book.tokens[id]
	if !ok {
		_, revoked = c.book.revoked[id]
		return nil, nil, revoked
	}
	if c.limits[id] == nil {
		c.limits[id] = rate.NewLimiter(rate.Limit(known.Rate), max(1, int(known.Rate)))
	}
	return &known, c.limits[id], false
}

// Valid reports whether a token was not revoked and has not expired, for answers
// that take long.
func (c *Cache) Valid(id string) bool {
	t, _, _ := c.find(id)
	return t != nil && !t.Expired(time.Now())
}

// Ended reports whether a token is known to be revoked, or to have expired.
func (c *Cache) Ended(id string) bool {
	t, _, revoked := c.find(id)
	return revoked || t != nil && t.Expired(time.Now())
}

// Known returns the token of an id, with its rate limiter, for who has proved before that
// the token is theirs. ErrNotFound as of Authenticate.
func (c *Cache) Known(ctx context.Context, id string) (*Token, *rate.Limiter, error) {
	if c.store == nil || !idPattern.MatchString(id) {
		return nil, nil, ErrNotFound
	}
	t, limiter, err := c.look(ctx, id)
	if err != nil || t == nil || t.Expired(time.Now()) {
		return nil, nil, cmp.Or(err, ErrNotFound)
	}
	return t, limiter, nil
}

// List returns what is known of all tokens that were not revoked, oldest first.
func (c *Cache) List() []Token {
	if c.store == nil {
		return nil
	}
	c.mu.Lock()
	list := slices.Collect(maps.Values(c.book.tokens))
	c.mu.Unlock()
	slices.SortFunc(list, func(x, y Token) int { return cmp.Or(x.Created.Compare(y.Created), strings.Compare(x.ID, y.ID)) })
	return list
}

// look returns a token, nil if there is none. One that is not known it looks for.
func (c *Cache) look(ctx context.Context, id string) (*Token, *rate.Limiter, error) {
	t, limiter, revoked := c.find(id)
	if t != nil || revoked || !c.misses.Allow() { // it may be new, or somebody is guessing
		return t, limiter, nil
	}
	found, err := c.store.of(ctx, id)
	if err != nil {
		return nil, nil, err
	}
	c.learn(found)
	t, limiter, _ = c.find(id)
	return t, limiter, nil
}
