package delivery

import (
	"errors"
	"slices"
	"strconv"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/nats-io/nats.go/jetstream"
	"go.opentelemetry.io/otel/trace"

	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/delivery/internal/ledger"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// An item is an update that this worker holds.
type item struct {
	u         events.Update
	tag       versioning.Tag
	malformed error // what keeps the update from being read
	seq       uint64
	msg       jetstream.Msg           // the newest copy: only its ack reaches the consumer; nil once parked
	size      int                     // of the share of the byte budget
	parked    uint64                  // sequence in the parked stream; 0: in the channel's
	raw       *jetstream.RawStreamMsg // content of a parked update while it is attempted
	kept      int                     // bytes of a parked update that stay between attempts; 0: none
	came      time.Time
	published time.Time          // when the broker stored it; zero if that is not known
	trace     *trace.SpanContext // of its first attempt, if its publisher gave none
	replay    bool
	reset     bool      // not an update: the mark that the key was reset; malformed, too
	resync    *resync   // that delivers it again; nil for what is live
	attempts  int       // spent so far
	resumed   bool      // attempts of a former owner were taken over
	alone     bool      // not in a batch: it has broken one
	refused   bool      // its reply subject is not allowed; said once
	lettered  bool      // given up, and its key had dead letters before
	first     time.Time // first attempt by this worker
	failed    time.Time // last attempt that counted
	// trying is for how long it has been tried without success, but for times in
	// which nobody could.
	trying time.Duration
	// lastLogged is when a failed attempt was last written to the outcome log.
	lastLogged time.Time
}

// A place tells an update in a channel's stream from all others. Its sequence alone
// does not: a broker that was restored gives it again, while the parked stream may have
// the update that had it before.
type place struct {
	seq    uint64
	stored int64 // nanoseconds since the Unix epoch
}

func (it *item) where() place { return place{it.seq, it.published.UnixNano()} }

// String returns the place as part of the id of a message that is about the update.
func (p place) String() string {
	return strconv.FormatUint(p.seq, 10) + ":" + strconv.FormatInt(p.stored, 36)
}

// A lane is the queue of one key. One call is in flight per lane at most, and
// what follows waits until its outcome is in the log.
type lane struct {
	key    string      // encoded
	pinned *ledger.Key // its record is in memory as long as the lane is
	queue  []*item
	busy   bool        // the head is being attempted or committed, or the queue moved
	queued bool        // in the tenure's ready list
	due    time.Time   // no attempt before
	timer  *time.Timer // fires at due
	back   *backoff.ExponentialBackOff

	parked bool // what comes is moved to the parked stream, see park.go
	// more: the parked stream holds updates of this key behind those in queue;
	// lastInMemory is the sequence there of the last one in queue.
	more         bool
	lastInMemory uint64
}

func (l *lane) stopTimer() {
	if l.timer != nil {
		l.timer.Stop()
		l.timer = nil
	}
}

// intake takes an update from the consumer into its lane. It never blocks.
func (t *tenure) intake(it *item, enc string) (held bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.received++
	if old := t.held[it.where()]; old != nil { // a redelivery
		if old.parked > 0 {
			t.settleMessage(it.msg, it.seq) // the ack after parking was lost
			t.view.Stir()
		} else {
			old.msg = it.msg // only the newest copy can be acked
		}
		return false
	}
	if !t.floor.Add(it.seq, it.published.UnixNano()) { // settled before; its ack was lost
		t.settleMessage(it.msg, it.seq)
		t.view.Stir()
		return false
	}
	t.held[it.where()] = it
	t.inHand++
	l := t.laneFor(enc)
	t.yieldResync(l)
	if t.latest() && it.malformed == nil {
		t.supersedeWaiting(l, it)
	}
	l.queue = append(l.queue, it)
	t.proceed(l)
	return true
}

// laneFor returns the lane of a key, a new one if there is none. The caller holds mu.
func (t *tenure) laneFor(enc string) *lane {
	l := t.lanes[enc]
	if l == nil {
		l = &lane{key: enc, pinned: t.view.Pin(enc)}
		t.lanes[enc] = l
	}
	return l
}

func (t *tenure) latest() bool { return t.p.r.entry.Config.Mode == channels.Latest }

// supersedeWaiting takes what is older than it, and not being attempted, out of
// the lane. A newer version takes a waiting lane over at once, with a fresh
// schedule. The caller holds mu.
func (t *tenure) supersedeWaiting(l *lane, it *item) {
	waiting := l.queue
	if l.busy {
		waiting = l.queue[1:]
	}
	kept := slices.Clone(l.queue[:len(l.queue)-len(waiting)])
	for _, old := range waiting {
		if old.malformed == nil && isOlder(old.tag.Version, it.tag.Version) {
			s := superseded(old, it.tag.Version).settlement
			t.enqueueCommit(commit{entry: t.entry(old, s, connectors.Result{}), key: l.pinned, item: old})
			continue
		}
		kept = append(kept, old)
	}
	if len(kept) == len(l.queue) {
		return
	}
	l.queue = kept
	l.parked = slices.ContainsFunc(kept, func(it *item) bool { return it.parked > 0 })
	if !l.busy {
		l.stopTimer()
		l.back, l.due = nil, time.Time{}
	}
}

// isOlder reports whether v is surely older than w.
func isOlder(v, w versioning.Version) bool {
	c, err := v.Compare(w)
	return err == nil && c < 0
}

// proceed lets a lane that is not busy do what comes next: move to the parked
// stream, read more from there, wait until it is due, or be attempted. The
// caller holds mu.
func (t *tenure) proceed(l *lane) {
	if l.busy || l.queued || t.ctx.Err() != nil {
		return // busy lanes come back; an ended tenure's are the next owner's
	}
	switch {
	case l.parked && len(l.unparked()) > 0:
		t.startParking(l)
	case len(l.queue) == 0 && l.more:
		l.busy = true
		t.loadMore(l)
	case len(l.queue) == 0:
		t.retire(l)
	case l.timer != nil:
	case !l.due.IsZero() && time.Now().Before(l.due):
		t.startTimer(l)
	default:
		l.queued = true
		if l.queue[0].resync != nil {
			t.readyLow = append(t.readyLow, l)
		} else {
			t.ready = append(t.ready, l)
		}
		signal(t.wakeDispatch)
	}
}

func (t *tenure) startTimer(l *lane) {
	var timer *time.Timer
	timer = time.AfterFunc(time.Until(l.due), func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if l.timer != timer { // it was stopped too late
			return
		}
		l.timer = nil
		t.proceed(l)
	})
	l.timer = timer
}

// retryLater lets the lane wait before its head is attempted again. The caller
// holds mu.
func (t *tenure) retryLater(l *lane, wait time.Duration) {
	t.unload(l.queue[0])
	l.busy, l.due = false, time.Now().Add(wait)
	t.proceed(l)
}

const (
	// After an outage of refreshAfter a latest channel that holds more than
	// refreshAbove updates reads its stream again: they may be old by then.
	refreshAfter = 500 * time.Millisecond
	refreshAbove = 4
	// refreshPatience is how long that waits for calls that are still in flight. No other
	// begins meanwhile.
	refreshPatience = time.Second
)

// errRefresh ends a tenure, after a hand-over to the next one of the same worker.
var errRefresh = errors.New("what was held during the outage is read again")

// GateChanged has the progress written, where operators read the gate's state.
func (t *tenure) GateChanged() { t.view.Look() }

// GateMoved has the dispatcher ask the gate again.
func (t *tenure) GateMoved() { signal(t.wakeDispatch) }

// GateFreed lets every lane that waits try now: the target is back after some
// time. Of what was held all the while, newer versions may lie in the stream; so
// that each key costs one write, it is let go and read again.
func (t *tenure) GateFreed(lasted time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if lasted >= refreshAfter && t.floor.Unsettled() > refreshAbove && t.latest() {
		t.refreshing = true
		signal(t.wakeRefresh)
		return
	}
	t.free()
}

// freeLanes lets every lane go on with what is held.
func (t *tenure) freeLanes() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.refreshing = false
	t.free()
	signal(t.wakeDispatch)
}

// free lets every lane that waits try now. The caller holds mu.
func (t *tenure) free() {
	for _, l := range t.lanes {
		if l.timer != nil {
			l.stopTimer()
			l.due = time.Time{}
			t.proceed(l)
		}
	}
}

// settled takes the head out of its lane. The caller holds mu.
func (t *tenure) settled(l *lane) {
	l.queue = l.queue[1:]
	l.busy, l.back, l.due = false, nil, time.Time{}
	t.proceed(l)
}

// retire forgets a lane that has nothing left. The caller holds mu.
func (t *tenure) retire(l *lane) {
	if t.lanes[l.key] != l {
		return
	}
	l.stopTimer()
	delete(t.lanes, l.key)
	t.view.Unpin(l.pinned)
}

// nextBackoff returns how long the lane's head waits after a failed attempt.
func (t *tenure) nextBackoff(l *lane) time.Duration {
	if l.back == nil {
		retry := t.p.r.entry.Config.Retry
		l.back = backoff.NewExponentialBackOff(
			backoff.WithInitialInterval(retry.InitialBackoff.D()),
			backoff.WithMaxInterval(retry.MaxBackoff.D()),
			backoff.WithMultiplier(2),
			backoff.WithMaxElapsedTime(0), // attempts decide, not time
		)
	}
	return l.back.NextBackOff()
}
