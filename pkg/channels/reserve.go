package channels

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/internal/sleep"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/events"
)

// A Loss is a stream that was gone and was made again, empty.
type Loss struct {
	Stream string `json:"stream"`
	// Lost says, for people, what it held and what to do about that.
	Lost string `json:"lost"`
}

// Reserve creates the streams and buckets that all channels share, and the missing
// ones of the topics and channels of a file, or brings the shared ones up to date. All of it or nothing:
// what the broker offers is looked at first, as far as it tells, and if the broker
// refuses half-way, which is a *RoomError where room is the reason, what this call
// has made or changed is undone. It may be repeated. While a leader is elected it
// waits, up to half a minute for each stream. It returns the streams that should have
// been there, because others were, or because the registry knows the channel.
func Reserve(ctx context.Context, js jetstream.JetStream, names events.Names, storage Storage, file File) ([]Loss, error) {
	storage = storage.withDefaults()
	r := reservation{js: js, names: names, replicas: storage.Replicas}
	if err := r.lookShared(ctx, storage, false); err != nil {
		return nil, err
	}
	entries, err := known(ctx, js, names)
	if err != nil {
		return nil, err
	}
	r.enlarge(quotas(names, configsWith(entries, file.Channels)))
	var registry *Registry
	if r.registryThere && len(file.Channels)+len(file.Topics) > 0 {
		if registry, err = ReadRegistry(ctx, js, names); err != nil {
			return nil, err
		}
	}
	for _, t := range file.Topics {
		if err := r.lookTopic(ctx, registry, t.WithDefaults()); err != nil {
			return nil, err
		}
	}
	for _, c := range file.Channels {
		if err := r.lookChannel(ctx, registry, c.WithDefaults()); err != nil {
			return nil, err
		}
	}
	return r.make(ctx)
}

// Mend creates what is missing of the shared streams and buckets, and of the streams
// of the channels in the registry, and changes nothing else. At a broker that was
// never provisioned it does nothing. It is all or nothing, as Reserve.
func Mend(ctx context.Context, js jetstream.JetStream, names events.Names, storage Storage) ([]Loss, error) {
	storage = storage.withDefaults()
	r := reservation{js: js, names: names, replicas: storage.Replicas}
	if err := r.lookShared(ctx, storage, true); err != nil {
		return nil, err
	}
	if r.fresh {
		return nil, nil
	}
	if r.registryThere {
		registry, err := ReadRegistry(ctx, js, names)
		if err != nil {
			return nil, err
		}
		entries, err := registry.List(ctx)
		if err != nil && len(entries) == 0 {
			return nil, err
		}
		for _, e := range entries {
			if err := r.lookEntry(ctx, e); err != nil {
				return nil, err
			}
		}
		topics, err := registry.Topics(ctx)
		if err != nil && len(topics) == 0 {
			return nil, err
		}
		for _, t := range topics {
			if err := r.lookStream(ctx, topicStream(r.names, t, r.replicas), topicLoss); err != nil {
				return nil, err
			}
		}
	}
	return r.make(ctx)
}

// A reservation is what is to be made, and what was made of it.
type reservation struct {
	js       jetstream.JetStream
	names    events.Names
	replicas int
	// fresh: none of the shared streams is there. registryThere: that bucket is.
	fresh, registryThere bool
	parts                []part
	undo                 []func(context.Context) error
}

// A part is one stream.
type part struct {
	want  jetstream.StreamConfig
	is    *jetstream.StreamConfig // nil: it is missing
	lost  string                  // what a missing one held; "": it is new
	bytes int64                   // that are reserved anew
}

// lookShared notes what is to be done about the shared streams. With onlyMissing those
// that are there stay as they are, and new ones lie on as many servers as they do.
func (r *reservation) lookShared(ctx context.Context, storage Storage, onlyMissing bool) error {
	r.fresh = true
	for _, want := range sharedStreams(r.names, storage) {
		is, err := r.look(ctx, want.Name)
		if err != nil {
			return err
		}
		want.Replicas = storage.Replicas
		p := part{want: want, is: is, lost: sharedLoss(r.names, want.Name), bytes: want.MaxBytes}
		if is != nil {
			r.fresh = false
			r.registryThere = r.registryThere || want.Name == wire.KVStream(wire.RegistryBucket(r.names))
			if onlyMissing {
				r.replicas = max(is.Replicas, 1)
				continue
			}
			p.bytes = max(0, want.MaxBytes-is.MaxBytes)
		}
		r.parts = append(r.parts, p)
	}
	for i := range r.parts {
		if r.fresh {
			r.parts[i].lost = ""
		}
		if onlyMissing {
			r.parts[i].want.Replicas = r.replicas
		}
	}
	return nil
}

// enlarge has the streams hold at least so much.
func (r *reservation) enlarge(least map[string]int64) {
	for i := range r.parts {
		p := &r.parts[i]
		p.want.MaxBytes = max(p.want.MaxBytes, least[p.want.Name])
		p.bytes = p.want.MaxBytes
		if p.is != nil {
			p.bytes = max(0, p.bytes-p.is.MaxBytes)
		}
	}
}

// lookChannel notes the stream of a channel that is to be put, if it is missing.
// registry is nil if there is none.
func (r *reservation) lookChannel(ctx context.Context, registry *Registry, c Config) error {
	e := Entry{Config: c}
	if registry != nil {
		known, err := registry.Get(ctx, c.Name)
		if err == nil {
			e = known // with its mode: another one is refused later
		} else if !errors.Is(err, ErrNotFound) {
			return err
		}
	}
	return r.lookEntry(ctx, e)
}

// lookTopic is lookChannel for a topic.
func (r *reservation) lookTopic(ctx context.Context, registry *Registry, t Topic) error {
	lost := ""
	if registry != nil {
		_, err := registry.Topic(ctx, t.Name)
		if err == nil {
			lost = topicLoss
		} else if !errors.Is(err, ErrNotFound) {
			return err
		}
	}
	return r.lookStream(ctx, topicStream(r.names, TopicEntry{Topic: t}, r.replicas), lost)
}

func (r *reservation) lookEntry(ctx context.Context, e Entry) error {
	lost := ""
	if e.Revision != 0 {
		lost = channelLoss(e.Config)
	}
	return r.lookStream(ctx, channelStream(r.names, e, r.replicas), lost)
}

// lookStream notes a stream if it is missing. lost says what it held; "": it is new.
func (r *reservation) lookStream(ctx context.Context, want jetstream.StreamConfig, lost string) error {
	is, err := r.look(ctx, want.Name)
	if err == nil && is == nil {
		r.parts = append(r.parts, part{want: want, bytes: want.MaxBytes, lost: lost})
	}
	return err
}

// look returns the configuration of a stream, nil if there is none.
func (r *reservation) look(ctx context.Context, name string) (*jetstream.StreamConfig, error) {
	var stream jetstream.Stream
	err := persist(ctx, func(ctx context.Context) (err error) {
		stream, err = r.js.Stream(ctx, name)
		return err
	})
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look at stream %s: %w", name, err)
	}
	return &stream.CachedInfo().Config, nil
}

// make does what was noted.
func (r *reservation) make(ctx context.Context) ([]Loss, error) {
	if err := r.checkAccount(ctx); err != nil {
		return nil, err
	}
	var losses []Loss
	for _, p := range r.parts {
		if err := r.one(ctx, p); err != nil {
			return nil, errors.Join(r.refused(p, err), r.undoAll(ctx))
		}
		if p.is == nil && p.lost != "" {
			losses = append(losses, Loss{Stream: p.want.Name, Lost: p.lost})
		}
	}
	if err := wire.EnsureIncarnation(ctx, r.js, r.names); err != nil {
		return losses, fmt.Errorf("provision: %w", err)
	}
	return losses, nil
}

func (r *reservation) one(ctx context.Context, p part) error {
	want := p.want
	if p.is != nil {
		want.FirstSeq = p.is.FirstSeq // where it began cannot be changed
		err := persist(ctx, func(ctx context.Context) error {
			_, err := r.js.UpdateStream(ctx, want)
			return err
		})
		if err == nil {
			r.undo = append(r.undo, func(ctx context.Context) error {
				_, err := r.js.UpdateStream(ctx, *p.is)
				return err
			})
		}
		return err
	}
	if p.lost != "" {
		want.FirstSeq = firstSequence(time.Now())
	}
	err := persist(ctx, func(ctx context.Context) error {
		_, err := r.js.CreateStream(ctx, want)
		return err
	})
	if err == nil || wire.IsUnavailable(err) { // its answer may have been lost
		r.undo = append(r.undo, func(ctx context.Context) error { return r.removeEmpty(ctx, want.Name) })
	}
	if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) { // somebody else was faster; the next run compares
		err = nil
	}
	return err
}

// firstSequence is where a stream begins that takes the place of one that is gone.
// Workers, records and ids remember sequences of the old one: none may come twice. Up
// to a million messages a second are behind it.
func firstSequence(now time.Time) uint64 { return uint64(now.UnixMicro()) } //nolint:gosec // after 1970

// removeEmpty removes a stream that this call has made and nobody has used.
func (r *reservation) removeEmpty(ctx context.Context, name string) error {
	stream, err := r.js.Stream(ctx, name)
	if errors.Is(err, jetstream.ErrStreamNotFound) || err == nil && stream.CachedInfo().State.Msgs > 0 {
		return nil
	}
	if err != nil {
		return err
	}
	return r.js.DeleteStream(ctx, name)
}

// undoAll takes back what was made and changed, the last first.
func (r *reservation) undoAll(ctx context.Context) error {
	ctx = context.WithoutCancel(ctx)
	var errs []error
	for i := len(r.undo) - 1; i >= 0; i-- {
		if err := persist(ctx, r.undo[i]); err != nil {
			errs = append(errs, fmt.Errorf("undo what was made so far (run it again when there is room): %w", err))
		}
	}
	return errors.Join(errs...)
}

const (
	// electionPatience is how long a change of a stream waits for somebody who can
	// decide it: a cluster elects a leader within seconds, and a young one takes some
	// more to know all of its servers.
	electionPatience = 30 * time.Second
	electionTry      = 5 * time.Second
)

// persist does something at the broker again as long as nobody there could decide it,
// but no longer than electionPatience.
func persist(ctx context.Context, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, electionPatience)
	defer cancel()
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 2*time.Second) {
		err := try(ctx, do)
		if !wire.IsUnavailable(err) {
			return err
		}
		if !sleep.For(ctx, wait) {
			return err
		}
	}
}

func try(ctx context.Context, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, electionTry)
	defer cancel()
	return do(ctx)
}
