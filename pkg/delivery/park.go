package delivery

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/pkg/delivery/internal/feed"
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

// Headers of a parked update, besides its own.
const (
	headerParkedSequence = "Extsync-Parked-Sequence" // in the channel's stream
	headerParkedID       = "Extsync-Parked-Id"       // the message id it had there
	headerParkedDigest   = "Extsync-Parked-Digest"
	headerParkedSince    = "Extsync-Parked-Published" // when the broker stored it; left out if not known
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

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// withoutBrokerHeaders copies headers but for those that speak to the broker or
// its clients.
func withoutBrokerHeaders(h nats.Header) nats.Header {
	out := maps.Clone(h)
	if out == nil {
		return nats.Header{}
	}
	for name := range out {
		if strings.HasPrefix(name, "Nats-") || name == feed.HeaderStatus {
			delete(out, name)
		}
	}
	return out
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
		delete(t.held, it.place())
	}
	if l.queue = l.queue[:keep]; keep > 0 {
		l.lastInMemory = l.queue[keep-1].parked
	}
}

// deleteParked removes a settled update from the parked stream. If it stays
// after all, the next owner finds its outcome in the ledger and removes it.
func (t *tenure) deleteParked(seq uint64) {
	t.calls.Go(func() {
		ctx, cancel := context.WithTimeout(t.ctx, 5*time.Second)
		defer cancel()
		if err := t.b.parked.DeleteMsg(ctx, seq); err != nil && !errors.Is(err, jetstream.ErrMsgNotFound) {
			t.log.Warn().Err(err).Msg("remove a parked update that is settled")
		}
	})
}

// recoverParked puts the updates that a former owner has parked into lanes,
// before anything is pulled.
func (t *tenure) recoverParked(ctx context.Context) error {
	cfg := t.p.r.entry.Config
	all := t.b.names.ParkedFilter(cfg.Name)
	info, err := t.b.parked.Info(ctx, jetstream.WithSubjectFilter(all))
	if err != nil {
		return fmt.Errorf("look for parked updates: %w", err)
	}
	var filters []string
	for subject := range info.State.Subjects {
		if events.Slot(laneKey(subject))%cfg.Partitions == t.p.index {
			filters = append(filters, subject)
		}
	}
	if len(filters) == 0 {
		return nil
	}
	if len(filters) > 100 || cfg.Partitions == 1 { // a long list costs the server more than reading a few too many
		filters = []string{all}
	}
	n := 0
	err = t.readParked(ctx, filters, 0, 0, func(it *item, key string) {
		if events.Slot(key)%cfg.Partitions == t.p.index {
			t.addParked(it, key)
			n++
		}
	})
	if n > 0 {
		t.log.Info().Int("updates", n).Int("keys", len(t.lanes)).Msg("parked updates loaded")
	}
	return err
}

// addParked puts a parked update into its lane.
func (t *tenure) addParked(it *item, key string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	l := t.lane(key)
	l.parked = true
	if len(l.queue) >= parkedInMemory {
		l.more = true
		return
	}
	if t.held[it.place()] != nil {
		return
	}
	t.held[it.place()] = it
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
		subject := t.b.names.Parked(t.p.r.entry.Config.Name, l.key)
		err := t.readParked(t.ctx, []string{subject}, from, parkedInMemory+1, func(it *item, _ string) { got = append(got, it) })
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
			t.held[it.place()] = it
			l.lastInMemory = it.parked
		}
		l.queue = append(got, l.queue...) // what came meanwhile is newer
		t.proceed(l)
	}()
}

// readParked calls found for parked updates of some subjects in order, from a
// sequence on, without their payload. most is 0 for all.
func (t *tenure) readParked(ctx context.Context, subjects []string, from uint64, most int, found func(*item, string)) error {
	cfg := jetstream.OrderedConsumerConfig{FilterSubjects: subjects, HeadersOnly: true, DeliverPolicy: jetstream.DeliverAllPolicy}
	if from > 0 {
		cfg.DeliverPolicy, cfg.OptStartSeq = jetstream.DeliverByStartSequencePolicy, from
	}
	c, err := t.b.parked.OrderedConsumer(ctx, cfg)
	if err != nil {
		return fmt.Errorf("read parked updates: %w", err)
	}
	left := c.CachedInfo().NumPending
	for n := 0; left > 0 && (most == 0 || n < most); {
		batch, err := c.Fetch(int(min(left, 500)), jetstream.FetchMaxWait(5*time.Second))
		if err != nil {
			return fmt.Errorf("read parked updates: %w", err)
		}
		got := 0
		for msg := range batch.Messages() {
			got++
			meta, err := msg.Metadata()
			if err != nil {
				return fmt.Errorf("read parked updates: %w", err)
			}
			left = meta.NumPending
			key := laneKey(msg.Subject())
			if it := t.parkedItem(msg, key, meta.Sequence.Stream); it != nil && (most == 0 || n < most) {
				found(it, key)
				n++
			}
		}
		if err := batch.Error(); err != nil {
			return fmt.Errorf("read parked updates: %w", err)
		}
		if got == 0 {
			return fmt.Errorf("read parked updates: %w", events.ErrUnavailable)
		}
	}
	return nil
}

// parkedItem reads what names a parked update. One that cannot be read was not
// put there by a worker.
func (t *tenure) parkedItem(msg jetstream.Msg, key string, parked uint64) *item {
	h := msg.Headers()
	name := t.p.r.entry.Config.Name
	if id := h.Get(events.HeaderChannelID); id != "" && id != t.p.r.entry.ID {
		t.log.Warn().Uint64("sequence", parked).Msg("a parked update is of a former channel of this name; it is removed")
		t.deleteParked(parked)
		return nil
	}
	u, err := events.Decode(t.b.names, t.b.names.StoredUpdate(name, key), h, nil)
	seq, serr := strconv.ParseUint(h.Get(headerParkedSequence), 10, 64)
	var digest versioning.Digest
	derr := digest.UnmarshalText([]byte(h.Get(headerParkedDigest)))
	published, terr := time.Parse(time.RFC3339Nano, h.Get(headerParkedSince))
	if err := errors.Join(err, serr, derr, terr); err != nil {
		t.log.Error().Err(err).Uint64("sequence", parked).Msg("a message in the parked stream is not a parked update; it is left there")
		return nil
	}
	id := h.Get(headerParkedID)
	it := &item{u: u, seq: seq, published: published, parked: parked, replay: events.IsReplay(id), came: time.Now()}
	it.tag = versioning.Tag{Version: u.Version, Digest: digest}
	return it
}
