package publish

import "sync"

// heads remembers the heads of the keys that were used last, at least half of as
// many as it may hold. It is safe for concurrent use. What was used since the last
// turn is young; at a turn, what is old is forgotten.
type heads struct {
	mu         sync.Mutex
	half       int // of what it may hold
	young, old map[string]head
}

func newHeads(most int) *heads {
	return &heads{half: max(1, most/2), young: map[string]head{}, old: map[string]head{}}
}

func (c *heads) get(path string) (head, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	h, ok := c.young[path]
	if ok {
		return h, true
	}
	if h, ok = c.old[path]; ok {
		c.put(path, h)
	}
	return h, ok
}

func (c *heads) set(path string, h head) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.put(path, h)
}

// put makes an entry young. The caller holds mu.
func (c *heads) put(path string, h head) {
	if c.young[path] = h; len(c.young) >= c.half {
		c.young, c.old = c.old, c.young
		clear(c.young)
	}
}

func (c *heads) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.young)
	clear(c.old)
}

func (c *heads) forget(path string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.young, path)
	delete(c.old, path)
}
