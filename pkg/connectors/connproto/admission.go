package connproto

import (
	"context"
	"sync"
)

// An Admission bounds how many requests are open at once, and keeps two from writing one
// key. It is safe for concurrent use.
type Admission struct {
	mu    sync.Mutex
	limit int
	open  int
	busy  map[string]struct{}
	freed chan struct{} // closed when something was freed
}

// NewAdmission returns one for so many requests at once.
func NewAdmission(limit int) *Admission {
	return &Admission{limit: limit, busy: map[string]struct{}{}, freed: make(chan struct{})}
}

// Enter waits until there is room for a request that writes these keys. It fails with ctx,
// and with nil once ended is closed.
func (a *Admission) Enter(ctx context.Context, ended <-chan struct{}, keys []string) (bool, error) {
	for {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		freed, ok := a.try(keys)
		if ok {
			return true, nil
		}
		select {
		case <-ctx.Done():
			return false, ctx.Err()
		case <-ended:
			return false, nil
		case <-freed:
		}
	}
}

func (a *Admission) try(keys []string) (freed <-chan struct{}, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.open >= a.limit {
		return a.freed, false
	}
	for _, key := range keys {
		if _, busy := a.busy[key]; busy {
			return a.freed, false
		}
	}
	a.open++
	for _, key := range keys {
		a.busy[key] = struct{}{}
	}
	return nil, true
}

// Leave makes room again.
func (a *Admission) Leave(keys []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.open--
	for _, key := range keys {
		delete(a.busy, key)
	}
	close(a.freed)
	a.freed = make(chan struct{})
}

// Allow sets how many requests may be open at once.
func (a *Admission) Allow(limit int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.limit = limit
	close(a.freed)
	a.freed = make(chan struct{})
}
