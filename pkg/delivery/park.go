package delivery

import (
	"context"
	"time"

	"github.com/hms-utl/extsync/pkg/delivery/internal/parking"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// A key that keeps failing is parked: its updates move, in order, to a stream of
// their own and are settled in the channel's stream. So they neither fill the
// window nor hold the floor back, and no other key waits for them (guarantee 7).
// Their deliveries go on as before; only a copy of what names them stays in
// memory.

const (
	// A failing key is parked after defaultParkAfter, when it holds the floor
	// back by parkBehind updates, or when failing keys fill half the window.
	defaultParkAfter = 30 * time.Second
	parkBehind       = 10_000
	// parkedInMemory bounds the parked updates of one key that are in memory;
	// the rest is read when these are done.
	parkedInMemory = 1000
	// countEvery is how often all lanes are looked at for failing ones.
	countEvery = 25 * time.Millisecond
	// parkRetry is how long a lane waits when the parked stream did not answer.
	parkRetry = time.Second
)

// shouldPark reports whether a lane whose head has just failed is to be moved
// out of the way. The caller holds mu.
func (t *tenure) shouldPark(l *lane, it *item) bool {
	if it.parked > 0 || it.malformed != nil {
		return false
	}
	if time.Since(it.came) >= t.p.r.parkAfter || t.floor.Last()-it.seq >= parkBehind {
		return true
	}
	half := t.p.r.entry.Config.Window / 2
	if len(t.held) < half {
		return false
	}
	if now := time.Now(); now.Sub(t.counted) >= countEvery { // not each failure goes through all lanes
		t.counted, t.crowded = now, t.failing() >= half
	}
	return t.crowded
}

// failing counts the updates of failing keys that hold the window. The caller holds
// mu.
func (t *tenure) failing() int {
	n := 0
	for _, l := range t.lanes {
		// Not by the head's attempts: they belong to whoever makes the call.
		if len(l.queue) > 0 && l.back != nil && l.queue[0].parked == 0 {
			n += len(l.queue)
		}
	}
	return n
}

// unparked returns the updates of a parked lane that still lie in the channel's
// stream: those that came after the rest was parked. The caller holds mu.
func (l *lane) unparked() []*item {
	first := len(l.queue)
	for first > 0 && l.queue[first-1].parked == 0 {
		first--
	}
	return l.queue[first:]
}

func maxTime(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// dropExcess forgets parked updates beyond what one key may have in memory. The
// caller holds mu; all of the lane is parked.
func (t *tenure) dropExcess(l *lane) {
	keep := len(l.queue)
	if l.more { // what was just parked lies behind what is not in memory
		for keep > 0 && l.queue[keep-1].parked > l.lastInMemory {
			keep--
		}
	} else if keep > parkedInMemory {
		keep, l.more = parkedInMemory, true
	}
	for _, it := range l.queue[keep:] {
		t.dropKept(it)
		delete(t.held, it.where())
	}
	if l.queue = l.queue[:keep]; keep > 0 {
		l.lastInMemory = l.queue[keep-1].parked
	}
}

// deleteParked removes a settled update from the parked stream.
func (t *tenure) deleteParked(seq uint64) {
	t.calls.Go(func() { t.parked.Delete(t.ctx, seq) })
}

// recoverParked puts the updates that a former owner has parked into lanes,
// before anything is pulled.
func (t *tenure) recoverParked(ctx context.Context) error {
	n := 0
	err := t.parked.All(ctx, func(p parking.Parked) {
		t.addParked(parkedItem(p), p.Key)
		n++
	})
	if n > 0 {
		t.log.Info().Int("updates", n).Int("keys", len(t.lanes)).Msg("parked updates loaded")
	}
	return err
}

func parkedItem(p parking.Parked) *item {
	return &item{
		u: p.Update, tag: versioning.Tag{Version: p.Update.Version, Digest: p.Digest}, seq: p.Seq, published: p.Stored,
		parked: p.At, replay: events.IsReplay(p.ID), came: time.Now(),
	}
}

// addParked puts a parked update into its lane.
func (t *tenure) addParked(it *item, key string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	l := t.laneFor(key)
	l.parked = true
	if len(l.queue) >= parkedInMemory {
		l.more = true
		return
	}
	if t.held[it.where()] != nil {
		return
	}
	t.held[it.where()] = it
	l.queue = append(l.queue, it)
	l.lastInMemory = it.parked
	t.proceed(l)
}

// loadMore reads the next parked updates of a lane that has more than it may
// hold. The lane is busy, and the caller holds mu.
func (t *tenure) loadMore(l *lane) {
	from := l.lastInMemory + 1
	t.moving++
	go func() {
		var got []*item
		err := t.parked.OfKey(t.ctx, l.key, from, parkedInMemory+1, func(p parking.Parked) { got = append(got, parkedItem(p)) })
		t.mu.Lock()
		defer t.mu.Unlock()
		t.moving--
		t.checkIdle()
		l.busy = false
		if err != nil {
			t.log.Warn().Err(err).Str("key", l.key).Msg("read parked updates")
			l.due = time.Now().Add(parkRetry)
			t.startTimer(l)
			return
		}
		l.more = len(got) > parkedInMemory
		got = got[:min(len(got), parkedInMemory)]
		for _, it := range got {
			t.held[it.where()] = it
			l.lastInMemory = it.parked
		}
		l.queue = append(got, l.queue...) // what came meanwhile is newer
		t.proceed(l)
	}()
}
