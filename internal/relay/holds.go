package relay

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/hms-utl/extsync/internal/words"
)

// holds are the targets whose rows are left alone for a while, and why.
type holds struct {
	rows     string // what waits, for the log
	log      zerolog.Logger
	observer Observer

	mu    sync.Mutex
	waits map[string]wait
	moved time.Time // when a row was done with last
}

// A wait is why and until when the rows of a target are left alone.
type wait struct {
	why   error
	next  time.Duration
	until time.Time
	since time.Time
	said  time.Time
}

func newHolds(rows string, log zerolog.Logger, observer Observer) *holds {
	return &holds{rows: rows, log: log, observer: observer, waits: map[string]wait{}, moved: time.Now()}
}

// free reports whether nothing speaks against publishing rows of a target now.
func (h *holds) free(target string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return !time.Now().Before(h.waits[target].until)
}

// of returns what holds a target; the zero wait if nothing does.
func (h *holds) of(target string) wait {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.waits[target]
}

// hold leaves a target alone for a while, each time for longer.
func (h *holds) hold(target string, why error) {
	h.mu.Lock()
	w := h.waits[target]
	now := time.Now()
	say := now.Sub(w.said) >= sayEvery
	if say {
		w.said = now
	}
	if w.why == nil {
		w.since = now
	}
	w.why = why
	w.next = min(max(2*w.next, firstWait), mostWait)
	w.until = now.Add(w.next)
	h.waits[target] = w
	h.mu.Unlock()
	if say {
		h.log.Warn().Str("error", words.Of(why)).Str("target", target).Msg(h.rows + " wait; trying again")
	}
	h.observer.Held(target, why)
}

// went notes that a row of a target was done with.
func (h *holds) went(target string) {
	h.mu.Lock()
	held := h.waits[target].why != nil
	delete(h.waits, target)
	h.moved = time.Now()
	h.mu.Unlock()
	if held {
		h.log.Info().Str("target", target).Msg(h.rows + " get through again")
	}
	h.observer.Held(target, nil) // what another relay of this process has said counts no more
}

// keep forgets what holds targets of which no row waits any more: somebody else was done with
// them.
func (h *holds) keep(waits func(target string) bool) {
	h.mu.Lock()
	var gone []string
	for target := range h.waits {
		if !waits(target) {
			gone = append(gone, target)
			delete(h.waits, target)
		}
	}
	h.mu.Unlock()
	for _, target := range gone {
		h.observer.Held(target, nil)
	}
}

// sinceMoved returns how long ago a row was done with, or this began.
func (h *holds) sinceMoved() time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	return time.Since(h.moved)
}

// stalled says which targets have waited for so long, and why, in the order of their names.
func (h *holds) stalled(after time.Duration) (lines []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, target := range slices.Sorted(maps.Keys(h.waits)) {
		w := h.waits[target]
		if still := time.Since(w.since); still >= after {
			lines = append(lines, fmt.Sprintf("target %s: %s wait for %s: %v", target, h.rows, still.Round(time.Second), words.Of(w.why)))
		}
	}
	return lines
}
