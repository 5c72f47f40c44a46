package delivery

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/internal/sleep"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/delivery/internal/feed"
	"github.com/hms-utl/extsync/pkg/delivery/internal/lanes"
	"github.com/hms-utl/extsync/pkg/events"
)

// A resync reads the channel's stream again, which in a latest channel is the
// current state, and puts what it finds into the same lanes, behind everything
// live; what follows is decided there.

const (
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

// A resyncer does what operators ask for: to deliver again what a partition's part of the
// stream has.
type resyncer struct {
	t    *tenure
	wake chan struct{} // somebody asks
	room chan struct{} // fewer updates are under way
}

// A reading is a tenure's share of one resync.
type reading struct {
	want   channels.Resync
	upto   uint64 // sequence in the stream
	window int    // updates under way at most
	rs     *lanes.Resync
}

// run does what operators ask for until ctx ends. They are heard by
// listen, or before this begins.
func (r *resyncer) run(ctx context.Context) {
	t := r.t
	if !t.latest() {
		return
	}
	for {
		want, err := r.wanted(ctx)
		if err == nil && want.State == channels.ResyncRunning && want.StreamCreated == t.feed.Created() && want.Concerns(&t.p.r.entry) {
			var current bool
			if current, err = r.current(ctx, &want); current {
				err = r.one(ctx, want)
			}
		}
		var again <-chan time.Time
		if err != nil && !errors.Is(err, channels.ErrNoResync) && ctx.Err() == nil {
			t.log.Warn().Err(err).Msg("resync; it goes on in a moment")
			again = time.After(resyncRetry)
		}
		select {
		case <-ctx.Done():
			return
		case <-r.wake:
		case <-again:
		}
	}
}

// wanted returns what is wanted of the channel. Whoever made it, or changed its keys, may have
// died before he said that it is to be filled.
func (r *resyncer) wanted(ctx context.Context) (channels.Resync, error) {
	e := &r.t.p.r.entry
	want, err := r.t.b.progress.ReadResync(ctx, e.Config.Name)
	if e.Fill == "" || err == nil && want.Concerns(e) || err != nil && !errors.Is(err, channels.ErrNoResync) {
		return want, err
	}
	now, err := r.t.b.registry.Get(ctx, e.Config.Name) // ours may be outdated
	if err != nil {
		return channels.Resync{}, err
	}
	if err := r.t.b.registry.EnsureFill(ctx, now); err != nil {
		return channels.Resync{}, err
	}
	return r.t.b.progress.ReadResync(ctx, e.Config.Name)
}

// current reports whether the tenure's configuration is not older than the one that a resync
// is meant for. Where it is, the next tenure has the newer one, and comes.
func (r *resyncer) current(ctx context.Context, want *channels.Resync) (bool, error) {
	own := &r.t.p.r.entry
	if want.Content == 0 || want.Content == own.Content {
		return true, nil
	}
	now, err := r.t.b.registry.Get(ctx, own.Config.Name)
	return err == nil && now.Content == own.Content, err
}

// one works on one resync until it is done or no longer wanted.
func (r *resyncer) one(ctx context.Context, want channels.Resync) error {
	t, e := r.t, r.t.p.r.entry
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
	one := r.start(want, p)
	t.log.Info().Str("resync", want.ID).Uint64("from", p.Cursor).Uint64("upto", one.upto).Msg("resync")

	feed, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	fed := make(chan error, 1)
	go func() { fed <- r.read(feed, one) }()
	save := time.NewTicker(resyncSave)
	defer save.Stop()
	for fed != nil || r.underWay(one) > 0 {
		select {
		case <-ctx.Done():
			r.endFeed(fed)
			return nil // what is in flight ends with the tenure
		case err = <-fed:
			fed = nil
			if err != nil {
				if !one.want.Fill {
					r.drop(one)
				}
				return errors.Join(err, r.save(context.WithoutCancel(ctx), one, false))
			}
		case <-r.wake:
			now, err := t.b.progress.ReadResync(ctx, e.Config.Name)
			if err == nil && now.ID == want.ID && now.State == channels.ResyncRunning {
				continue
			}
			stop(errNotWanted)
			r.endFeed(fed)
			if one.want.Fill { // what is in hand is as live as all else
				signal(r.wake)
				return r.save(ctx, one, false)
			}
			r.drop(one)
			for r.underWay(one) > 0 && sleep.For(ctx, 20*time.Millisecond) { // calls end within the channel's timeout
			}
			signal(r.wake) // look at what is wanted instead
			return r.save(ctx, one, false)
		case <-save.C:
			if err := r.save(ctx, one, false); err != nil {
				t.log.Warn().Err(err).Msg("record the progress of the resync")
			}
		}
	}
	if err := r.save(ctx, one, true); err != nil {
		return err
	}
	p = r.progress(one, true)
	t.log.Info().Str("resync", want.ID).Uint64("delivered", p.Delivered).Uint64("skipped", p.Skipped).
		Uint64("failed", p.Failed).Msg("resync done")
	return nil
}

// start begins a resync where its progress says.
func (r *resyncer) start(want channels.Resync, p channels.ResyncProgress) *reading {
	t := r.t
	one := &reading{want: want, upto: want.Upto, window: min(resyncWindow, 2*max(t.p.r.maxBatch, t.p.r.callLimit()))}
	t.begin()
	defer t.end()
	if want.Fill { // until it heard of its keys, an owner has passed by what came
		one.upto = max(one.upto, t.lanes.Floor().Last())
	}
	one.rs = t.lanes.BeginResync(p)
	return one
}

// drop forgets what of a resync is not in flight.
func (r *resyncer) drop(one *reading) {
	r.t.begin()
	defer r.t.end()
	r.t.lanes.DropResync(one.rs)
}

// endFeed waits until read has ended, whose context is over.
func (r *resyncer) endFeed(fed <-chan error) {
	if fed == nil {
		return
	}
	if err := <-fed; err != nil {
		r.t.log.Debug().Err(err).Msg("resync reads no further")
	}
}

// underWay returns how many updates of a resync are in lanes.
func (r *resyncer) underWay(one *reading) int {
	r.t.mu.Lock()
	defer r.t.mu.Unlock()
	return r.t.lanes.UnderWay(one.rs)
}

// progress returns how far a resync has got.
func (r *resyncer) progress(one *reading, done bool) channels.ResyncProgress {
	r.t.mu.Lock()
	defer r.t.mu.Unlock()
	return r.t.lanes.Progress(one.rs, done)
}

// save stores that.
func (r *resyncer) save(ctx context.Context, one *reading, done bool) error {
	e := &r.t.p.r.entry
	return r.t.b.progress.WriteResyncProgress(ctx, e.Config.Name, e.Generation, r.t.p.index, r.progress(one, done))
}

// read puts the partition's updates into lanes, in the order of the stream.
func (r *resyncer) read(ctx context.Context, one *reading) error {
	t := r.t
	subjects := r.subjects(&one.want.Selection)
	if len(subjects) == 0 {
		return nil
	}
	stream, err := t.b.js.Stream(ctx, t.stream)
	if err != nil {
		return fmt.Errorf("stream of the channel: %w", err)
	}
	c, err := stream.CreateConsumer(ctx, jetstream.ConsumerConfig{
		AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true, Replicas: 1, InactiveThreshold: time.Minute,
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: r.progress(one, false).Cursor + 1,
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
	count, left, last := uint64(0), c.CachedInfo().NumPending, r.progress(one, false).Cursor
	for left > 0 {
		before := count
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
				return r.missing(ctx, last, meta.Sequence.Stream)
			}
			last = meta.Sequence.Stream
			if left = meta.NumPending; meta.Sequence.Stream > one.upto {
				return nil
			}
			if err := r.readOne(ctx, one, msg, meta.Sequence.Stream, meta.Timestamp); err != nil {
				return err
			}
		}
		if err := batch.Error(); err != nil {
			return fmt.Errorf("read the stream again: %w", err)
		}
		if count == before && ctx.Err() == nil {
			return r.missing(ctx, last, one.upto)
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	return nil
}

// missing returns why messages behind a sequence did not come, up to another. Those that
// clients do not hand out are removed: nobody could deliver them.
func (r *resyncer) missing(ctx context.Context, last, upto uint64) error {
	found, err := r.t.feed.ClearHidden(ctx, last+1, upto)
	if found {
		r.t.log.Warn().Uint64("behind", last).Msg("updates that NATS clients do not hand out are removed")
	}
	return fmt.Errorf("read the stream again: %w", errors.Join(feed.ErrMissing, err))
}

// subjects returns what is to be read: of a few named keys only theirs,
// which may be none.
func (r *resyncer) subjects(s *channels.Selection) []string {
	t := r.t
	if len(s.Keys) == 0 || len(s.Keys) > 100 {
		return []string{t.feed.Subject()}
	}
	var out []string
	for _, key := range s.Keys {
		enc, err := events.EncodeKey(key)
		if err == nil && t.p.owns(enc) {
			out = append(out, wire.StoredUpdate(t.b.names, t.route, enc))
		}
	}
	return out
}

// readOne puts an update into its lane, once there is room for it.
func (r *resyncer) readOne(ctx context.Context, one *reading, msg jetstream.Msg, seq uint64, published time.Time) error {
	t := r.t
	u, err := t.decode(msg)
	if !one.want.Fill && err != nil || wire.IsReset(msg.Headers()) || !t.takes(u.Key) || !one.want.Has(u.Key) {
		return nil //nolint:nilerr // what cannot be read is a dead letter already
	}
	u.ReplyTo = "" // its publisher knows
	for r.underWay(one) >= one.window {
		select {
		case <-r.room:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	it := &lanes.Item{
		Update: u, Malformed: err, Seq: seq, Came: time.Now(), Published: published, Size: len(msg.Data()) + len(msg.Subject()) + 512,
	}
	if err == nil {
		it.Tag = u.Tag()
	}
	if one.want.Fill {
		msg.Headers().Del(events.HeaderReplyTo) // it may be parked with its headers
		it.Msg, it.Size = msg, len(msg.Data())+heldBytes
	}
	if err := t.share.Take(ctx, it.Size); err != nil {
		return err
	}
	key := t.view.Pin(wire.KeyOfSubject(msg.Subject()))
	t.begin()
	defer t.end()
	if one.want.Fill {
		t.lanes.Filled(one.rs, it, key)
	} else {
		t.lanes.Found(one.rs, it, key)
	}
	return nil
}
