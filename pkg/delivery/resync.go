package delivery

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/internal/sleep"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/delivery/internal/feed"
	"github.com/hms-utl/extsync/pkg/delivery/internal/flow"
	"github.com/hms-utl/extsync/pkg/delivery/internal/plain"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// A resync reads the channel's stream again, which in a latest channel is the
// current state, and puts what it finds into the same lanes, behind everything
// live. It changes no outcome but by delivering: what the target refuses is
// reported, and the ledger stays as it was.

const (
	// resyncTries is how often a resync attempts a key at most.
	resyncTries = 5
	// resyncWindow bounds the updates of a resync that are under way.
	resyncWindow = 1024
	// resyncFetch is how many are read at once: few enough to be held if each is as
	// large as can be. By bytes, the last ones would be waited for until the time is
	// over.
	resyncFetch = 64
	resyncSave  = time.Second
	resyncRetry = 2 * time.Second
)

var errNotWanted = errors.New("the resync is no longer wanted")

// A resync is the share of one partition in a channel's resync. The tenure's mu
// guards all but want and slots.
type resync struct {
	want   channels.Resync
	slots  chan struct{} // one is held for each update under way
	floor  flow.Floor
	out    map[uint64]*item // under way, by stream sequence
	report channels.ResyncProgress
}

// resyncLoop does what operators ask for until ctx ends. They are heard by
// listen, or before this begins.
func (t *tenure) resyncLoop(ctx context.Context) {
	if !t.latest() {
		return
	}
	for {
		want, err := t.b.progress.ReadResync(ctx, t.p.r.entry.Config.Name)
		if err == nil && want.State == channels.ResyncRunning && want.StreamCreated == t.feed.Created() {
			err = t.resyncOne(ctx, want)
		}
		var again <-chan time.Time
		if err != nil && !errors.Is(err, channels.ErrNoResync) && ctx.Err() == nil {
			t.log.Warn().Err(err).Msg("resync; it goes on in a moment")
			again = time.After(resyncRetry)
		}
		select {
		case <-ctx.Done():
			return
		case <-t.wakeResync:
		case <-again:
		}
	}
}

// resyncOne works on one resync until it is done or no longer wanted.
func (t *tenure) resyncOne(ctx context.Context, want channels.Resync) error {
	e := t.p.r.entry
	p, err := t.b.progress.ReadResyncProgress(ctx, e.Config.Name, e.Generation, t.p.index)
	if err != nil {
		return err
	}
	if p.ID != want.ID {
		p = channels.ResyncProgress{ID: want.ID}
	}
	if p.Done {
		return nil
	}
	window := min(resyncWindow, 2*max(t.p.r.maxBatch, t.p.r.callLimit()))
	rs := &resync{want: want, slots: make(chan struct{}, window), out: map[uint64]*item{}, report: p}
	rs.floor.StartAt(p.Cursor, 0)
	t.mu.Lock()
	t.resync = rs
	t.mu.Unlock()
	t.log.Info().Str("resync", want.ID).Uint64("from", p.Cursor).Uint64("upto", want.Upto).Msg("resync")

	feed, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	fed := make(chan error, 1)
	go func() { fed <- t.feedResync(feed, rs) }()
	save := time.NewTicker(resyncSave)
	defer save.Stop()
	for fed != nil || t.resyncUnderWay(rs) {
		select {
		case <-ctx.Done():
			t.endFeed(fed)
			return nil // what is in flight ends with the tenure
		case err = <-fed:
			fed = nil
			if err != nil {
				t.dropResync(rs)
				return errors.Join(err, t.saveResync(context.WithoutCancel(ctx), rs, false))
			}
		case <-t.wakeResync:
			now, err := t.b.progress.ReadResync(ctx, e.Config.Name)
			if err == nil && now.ID == want.ID && now.State == channels.ResyncRunning {
				continue
			}
			stop(errNotWanted)
			t.endFeed(fed)
			t.dropResync(rs)
			for t.resyncUnderWay(rs) && sleep.For(ctx, 20*time.Millisecond) { // calls end within the channel's timeout
			}
			signal(t.wakeResync) // look at what is wanted instead
			return t.saveResync(ctx, rs, false)
		case <-save.C:
			if err := t.saveResync(ctx, rs, false); err != nil {
				t.log.Warn().Err(err).Msg("record the progress of the resync")
			}
		}
	}
	if err := t.saveResync(ctx, rs, true); err != nil {
		return err
	}
	t.log.Info().Str("resync", want.ID).Uint64("delivered", rs.report.Delivered).Uint64("skipped", rs.report.Skipped).
		Uint64("failed", rs.report.Failed).Msg("resync done")
	return nil
}

// endFeed waits until feedResync has ended, whose context is over.
func (t *tenure) endFeed(fed <-chan error) {
	if fed == nil {
		return
	}
	if err := <-fed; err != nil {
		t.log.Debug().Err(err).Msg("resync reads no further")
	}
}

func (t *tenure) resyncUnderWay(rs *resync) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(rs.out) > 0
}

func (t *tenure) saveResync(ctx context.Context, rs *resync, done bool) error {
	t.mu.Lock()
	rs.report.Cursor, rs.report.Done, rs.report.At = rs.floor.Value(), done, timestamp()
	p := rs.report
	p.Failures = append([]channels.ResyncFailure(nil), p.Failures...)
	t.mu.Unlock()
	e := t.p.r.entry
	return t.b.progress.WriteResyncProgress(ctx, e.Config.Name, e.Generation, t.p.index, p)
}

// feedResync puts the partition's updates into lanes, in the order of the stream.
func (t *tenure) feedResync(ctx context.Context, rs *resync) error {
	subjects := t.resyncSubjects(&rs.want.Selection)
	if len(subjects) == 0 {
		return nil
	}
	stream, err := t.b.js.Stream(ctx, t.stream)
	if err != nil {
		return fmt.Errorf("stream of the channel: %w", err)
	}
	c, err := stream.CreateConsumer(ctx, jetstream.ConsumerConfig{
		AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true, Replicas: 1, InactiveThreshold: time.Minute,
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: rs.floor.Value() + 1,
		FilterSubjects: subjects,
	})
	if err != nil {
		return fmt.Errorf("read the stream again: %w", err)
	}
	defer func() { // what is left behind goes away by itself
		cleanup, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = stream.DeleteConsumer(cleanup, c.CachedInfo().Name)
	}()
	count, left := uint64(0), c.CachedInfo().NumPending
	for left > 0 {
		batch, err := c.Fetch(int(min(left, resyncFetch)), jetstream.FetchMaxWait(2*time.Second))
		if err != nil {
			return fmt.Errorf("read the stream again: %w", err)
		}
		for msg := range batch.Messages() {
			meta, err := msg.Metadata()
			if err != nil {
				return fmt.Errorf("read the stream again: %w", err)
			}
			if count++; meta.Sequence.Consumer != count {
				return fmt.Errorf("read the stream again: %w", feed.ErrMissing)
			}
			if left = meta.NumPending; meta.Sequence.Stream > rs.want.Upto {
				return nil
			}
			if err := t.feedOne(ctx, rs, msg, meta.Sequence.Stream, meta.Timestamp); err != nil {
				return err
			}
		}
		if err := batch.Error(); err != nil {
			return fmt.Errorf("read the stream again: %w", err)
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	return nil
}

// resyncSubjects returns what is to be read: of a few named keys only theirs,
// which may be none.
func (t *tenure) resyncSubjects(s *channels.Selection) []string {
	if len(s.Keys) == 0 || len(s.Keys) > 100 {
		return t.feed.Subjects()
	}
	cfg := t.p.r.entry.Config
	var out []string
	for _, key := range s.Keys {
		enc, err := events.EncodeKey(key)
		if err == nil && events.Slot(enc)%cfg.Partitions == t.p.index {
			out = append(out, t.b.names.StoredUpdate(cfg.Name, enc))
		}
	}
	return out
}

// feedOne puts an update into its lane, once there is room for it.
func (t *tenure) feedOne(ctx context.Context, rs *resync, msg jetstream.Msg, seq uint64, published time.Time) error {
	u, err := events.Decode(t.b.names, msg.Subject(), msg.Headers(), msg.Data())
	if err != nil || u.Channel != t.p.r.entry.Config.Name || !rs.want.Has(u.Key) {
		return nil //nolint:nilerr // what cannot be read is a dead letter already
	}
	u.ReplyTo = "" // its publisher knows
	select {
	case rs.slots <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	it := &item{
		u: u, tag: u.Tag(), resync: rs, seq: seq, came: time.Now(), published: published,
		size: len(msg.Data()) + len(msg.Subject()) + 512,
	}
	if err := t.share.Take(ctx, it.size); err != nil {
		<-rs.slots
		return err
	}
	enc := events.KeyOfSubject(msg.Subject())
	t.mu.Lock()
	defer t.mu.Unlock()
	rs.floor.Add(seq, 0)
	rs.out[seq] = it
	if seq > t.floor.Last() || t.lanes[enc] != nil { // live, or about to be
		t.endResync(it, &rs.report.Skipped)
		return nil
	}
	l := t.laneFor(enc)
	l.queue = append(l.queue, it)
	t.proceed(l)
	return nil
}

// endResync lets an update of a resync go and counts it. The caller holds mu.
func (t *tenure) endResync(it *item, count *uint64) {
	rs := it.resync
	if rs.out[it.seq] != it {
		return
	}
	delete(rs.out, it.seq)
	rs.floor.Done(it.seq)
	*count++
	t.share.Give(it.size)
	<-rs.slots
}

// yieldResync takes a resync's update that is not in flight out of a lane: a live
// one comes. The caller holds mu.
func (t *tenure) yieldResync(l *lane) {
	if l.busy || len(l.queue) == 0 || l.queue[0].resync == nil {
		return
	}
	it := l.queue[0]
	l.queue = l.queue[1:]
	l.stopTimer()
	l.back, l.due = nil, time.Time{}
	if l.queued {
		l.queued = false
		t.readyLow = without(t.readyLow, l)
	}
	t.endResync(it, &it.resync.report.Skipped)
}

func without(lanes []*lane, l *lane) []*lane {
	for i, other := range lanes {
		if other == l {
			return append(lanes[:i:i], lanes[i+1:]...)
		}
	}
	return lanes
}

// dropResync forgets what of a resync is not in flight. The rest counts when it
// ends.
func (t *tenure) dropResync(rs *resync) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.resync == rs {
		t.resync = nil
	}
	for seq, it := range rs.out {
		l := t.lanes[laneKeyOf(it)]
		if l == nil || l.busy || len(l.queue) == 0 || l.queue[0] != it {
			continue
		}
		l.queue = l.queue[1:]
		l.stopTimer()
		if l.queued {
			l.queued = false
			t.readyLow = without(t.readyLow, l)
		}
		delete(rs.out, seq) // not done: it comes again
		t.share.Give(it.size)
		<-rs.slots
		t.proceed(l)
	}
	if len(rs.out) > 0 {
		t.dropped = append(t.dropped, rs)
	}
}

// laneKeyOf returns the encoded key of a decoded update.
func laneKeyOf(it *item) string {
	enc, _ := events.EncodeKey(it.u.Key) // it was decoded from one
	return enc
}

// judgeResync decides whether the version that a resync found is to be delivered
// again.
func judgeResync(it *item, rec *events.Record) decision {
	for _, known := range []versioning.Version{rec.Applied.Version, rec.Settled.Version} {
		if c, err := it.tag.Version.Compare(known); err != nil || c < 0 {
			return decision{what: doSkip}
		}
	}
	return decision{what: doCall}
}

// concludeResync follows an attempt of a resync.
func (t *tenure) concludeResync(l *lane, it *item, res connectors.Result, counts bool) {
	if res.Class == connectors.OK {
		it.attempts++
		t.settleAs(l, it, events.Settlement{
			Version: it.tag.Version, Digest: it.tag.Digest, ID: it.u.ID, Outcome: events.Delivered, Code: plain.Text(res.Code, 64),
			Response: plain.Text(res.Response, events.MaxResponseLen),
		}, res)
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	rs := it.resync
	again := res.Class == connectors.Throttled || res.Class == connectors.Misconfigured || !counts
	if res.Class == connectors.Transient && counts {
		it.attempts++
		again = it.attempts < resyncTries
	}
	switch {
	case t.resync != rs || again && len(l.queue) > 1: // no longer wanted, or a newer version follows
		t.endResync(it, &rs.report.Skipped)
		t.settled(l)
	case again:
		wait := res.RetryAfter
		if counts && res.Class == connectors.Transient {
			wait = max(wait, t.nextBackoff(l))
		}
		it.alone = it.alone || res.Code == codePanic
		t.retryLater(l, wait)
	default:
		if len(rs.report.Failures) < channels.MaxResyncFailures {
			rs.report.Failures = append(rs.report.Failures, channels.ResyncFailure{
				Key: it.u.Key, Version: it.tag.Version.String(), Class: res.Class.String(), Code: plain.Text(res.Code, 64), Message: plain.Message(res),
				Response: plain.Text(res.Response, events.MaxResponseLen),
			})
		}
		t.endResync(it, &rs.report.Failed)
		t.settled(l)
	}
}
