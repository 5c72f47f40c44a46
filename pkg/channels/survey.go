package channels

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/hms-utl/extsync/internal/wire"
)

// A Survey counts the backlogs of all channels, over and over. It remembers what it has read:
// of a channel where nothing has happened it asks the broker one number. One Refresh runs at a
// time, and nothing else beside it.
type Survey struct {
	of   *Registry // whose it is
	view *Registry // the same, which reads from the shelves

	entries, progress *shelf
	channels          listing[Entry]
	topics            listing[TopicEntry]
	park              jetstream.Stream
	parkedAt          jetstream.StreamState // of which the parked updates in counted are

	mu      sync.Mutex
	counted map[string]*counted // by channel
	// Of this time: channels that read the same topic share its stream.
	infos     map[string]func() (jetstream.Stream, error)
	consumers map[string]func() (map[string]*jetstream.ConsumerInfo, error)
}

// settlesAfter is how old the newest message of a stream must be until all that counts it has
// heard of it: the leaders of its consumers and its replicas.
const settlesAfter = 3 * time.Second

// A listing is what a list of entries has returned.
type listing[E any] struct {
	entries []E
	err     error
}

// counted is what a Survey remembers of a channel.
type counted struct {
	id     string // of the channel
	parked parked
	// parkedAs is the number of partitions for which parked was counted; 0: it was not.
	parkedAs int

	created time.Time // the channel's stream
	state   jetstream.StreamState
	parts   []PartitionBacklog // without parked updates
	atMost  bool
	steady  bool // they stay as they are until the stream or their progress changes
}

// Survey returns a survey that remembers nothing yet.
func (r *Registry) Survey() *Survey {
	s := &Survey{
		of:      r,
		entries: &shelf{js: r.js, bucket: wire.RegistryBucket(r.names)}, progress: &shelf{js: r.js, bucket: wire.ProgressBucket(r.names)},
		counted: map[string]*counted{},
	}
	s.view = &Registry{
		js: r.js, kv: r.kv, read: s.entries, names: r.names, catalog: r.catalog,
		progress: &ProgressStore{kv: r.progress.kv, from: s.progress, incarnation: r.progress.incarnation},
	}
	return s
}

// Of reports whether it is a survey of a registry.
func (s *Survey) Of(r *Registry) bool { return s.of == r }

// Refresh reads what has changed. Channels, Topics and Backlog tell of what it has found.
func (s *Survey) Refresh(ctx context.Context) error {
	s.infos, s.consumers = map[string]func() (jetstream.Stream, error){}, map[string]func() (map[string]*jetstream.ConsumerInfo, error){}
	group, gctx := errgroup.WithContext(ctx)
	group.Go(func() error { return s.entries.refresh(gctx) })
	group.Go(func() error { return s.progress.refresh(gctx) })
	if err := group.Wait(); err != nil {
		return err
	}
	// After the progress: what is parked meanwhile counts as waiting.
	park, err := s.of.parkedStream(ctx)
	if err != nil {
		return err
	}
	s.park = park
	if now := park.CachedInfo().State; !sameState(now, s.parkedAt) {
		s.parkedAt = now
		for _, c := range s.counted {
			c.parkedAs = 0
		}
	}
	s.channels.entries, s.channels.err = shelved(s.entries, "", decodeEntry)
	s.topics.entries, s.topics.err = shelved(s.entries, topicKeys, decodeTopic)
	ids := make(map[string]string, len(s.channels.entries))
	for i := range s.channels.entries {
		ids[s.channels.entries[i].Config.Name] = s.channels.entries[i].ID
	}
	maps.DeleteFunc(s.counted, func(name string, c *counted) bool { return ids[name] != c.id })
	return nil
}

// sameState reports whether nothing was added to a stream or removed from it.
func sameState(a, b jetstream.StreamState) bool {
	return a.LastSeq == b.LastSeq && a.FirstSeq == b.FirstSeq && a.Msgs == b.Msgs && a.LastTime.Equal(b.LastTime)
}

// Channels is Registry.List.
func (s *Survey) Channels() ([]Entry, error) { return s.channels.entries, s.channels.err }

// Topics is Registry.Topics.
func (s *Survey) Topics() ([]TopicEntry, error) { return s.topics.entries, s.topics.err }

// Backlog is Registry.Backlog. It may be called for several channels side by side.
func (s *Survey) Backlog(ctx context.Context, e Entry) (Backlog, error) {
	b, err := s.backlog(ctx, e)
	if err != nil {
		return b, fmt.Errorf("channel %s: %w", e.Config.Name, err)
	}
	return b, nil
}

func (s *Survey) backlog(ctx context.Context, e Entry) (Backlog, error) {
	name := wire.UpdateStream(s.of.names, e.Config.Route())
	stream, err := once(&s.mu, s.infos, name, func() (jetstream.Stream, error) { return s.of.js.Stream(ctx, name) })
	if err != nil {
		return Backlog{}, err
	}
	info := stream.CachedInfo()
	b := backlogOf(info)
	if err := s.view.readProgress(ctx, e, &b); err != nil {
		return b, err
	}
	c := s.remembered(e)
	if c.parkedAs != e.Config.Partitions {
		if c.parked, err = s.view.countParked(ctx, e, s.park); err != nil {
			return b, err
		}
		c.parkedAs = e.Config.Partitions
	}
	switch {
	case info.State.Msgs == 0:
		c.steady = false
	case c.holds(info, &b):
		b.Partitions, b.AtMost = slices.Clone(c.parts), c.atMost
	default:
		all := func(ctx context.Context) (map[string]*jetstream.ConsumerInfo, error) {
			return once(&s.mu, s.consumers, name, func() (map[string]*jetstream.ConsumerInfo, error) { return consumersOf(ctx, stream) })
		}
		if err := s.view.countWaiting(ctx, e, info, all, &b); err != nil {
			c.steady = false
			return b, err
		}
		c.remember(info, &b)
	}
	return b, s.view.addUp(ctx, e, c.parked, &b)
}

// once returns what ask returns, which one of all who ask for a name calls.
func once[T any](mu *sync.Mutex, asked map[string]func() (T, error), name string, ask func() (T, error)) (T, error) {
	mu.Lock()
	f := asked[name]
	if f == nil {
		f = sync.OnceValues(ask)
		asked[name] = f
	}
	mu.Unlock()
	return f()
}

func (s *Survey) remembered(e Entry) *counted {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.counted[e.Config.Name]
	if c == nil || c.id != e.ID {
		c = &counted{id: e.ID}
		s.counted[e.Config.Name] = c
	}
	return c
}

// holds reports whether what was counted is what there is.
func (c *counted) holds(info *jetstream.StreamInfo, b *Backlog) bool {
	return c.steady && info.Created.Equal(c.created) && sameState(info.State, c.state) &&
		slices.EqualFunc(c.parts, b.Partitions, func(was, is PartitionBacklog) bool { return was.Written.Equal(is.Written) })
}

// remember keeps what was counted. It stays so where the consumer has sent everything and all
// of it is settled, and where nobody is at work: whoever begins writes progress first.
func (c *counted) remember(info *jetstream.StreamInfo, b *Backlog) {
	c.created, c.state, c.parts, c.atMost = info.Created, info.State, slices.Clone(b.Partitions), b.AtMost
	// A consumer may hear of what is stored a moment later.
	settled := info.TimeStamp.Sub(info.State.LastTime) > settlesAfter
	c.steady = settled && !slices.ContainsFunc(c.parts, func(p PartitionBacklog) bool {
		if p.Consumer {
			return p.Undelivered > 0
		}
		return !p.Written.IsZero() && !p.Progress.Clean
	})
}
