package channels

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/events"
)

// ErrNoTopic says that there is no such topic.
var ErrNoTopic = errors.New("topic not found")

// ErrTopicDeleting says that somebody has begun to delete a topic, and may have died.
var ErrTopicDeleting = errors.New("the topic is being deleted")

// ErrTopicRead says that channels read a topic that was to be deleted.
var ErrTopicRead = errors.New("channels read the topic")

// A TopicEntry is a topic as the registry holds it.
type TopicEntry struct {
	Topic Topic
	// Deleting: somebody has begun to delete the topic. No channel may read it any more, and
	// DeleteTopic goes on.
	Deleting bool
	// Revision is that of the registry's entry; it changes with every change.
	Revision uint64
	Updated  time.Time
}

// storedTopic is the form of a topic's entry in the bucket.
type storedTopic struct {
	Format int   `json:"f"`
	Topic  Topic `json:"topic"`
	// Deleting: see TopicEntry.
	Deleting bool `json:"deleting,omitempty"`
	// Deleted is when the topic was deleted: the entry stays, and is none.
	Deleted time.Time `json:"deleted,omitzero"`
}

// Topic returns one topic, or a TopicNotFoundError.
func (r *Registry) Topic(ctx context.Context, name string) (TopicEntry, error) {
	e, _, err := r.topic(ctx, name)
	return e, err
}

// topic is Topic. With a TopicNotFoundError it returns the revision to expect, of what is left of a
// former topic of the name.
func (r *Registry) topic(ctx context.Context, name string) (e TopicEntry, former uint64, err error) {
	if err := events.CheckTopic(name); err != nil {
		return TopicEntry{}, 0, fmt.Errorf("%w: %w: %w", ErrNoTopic, ErrNotFound, err)
	}
	kve, err := r.read.Get(ctx, topicKeys+name)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return TopicEntry{}, 0, &TopicNotFoundError{name}
	}
	if err != nil {
		return TopicEntry{}, 0, fmt.Errorf("read topic %s: %w", name, err)
	}
	e, deleted, err := decodeTopic(name, kve.Value(), kve.Revision(), kve.Created())
	if err == nil && deleted {
		return TopicEntry{}, e.Revision, &TopicNotFoundError{name}
	}
	return e, 0, err
}

// A TopicNotFoundError is an ErrNoTopic and ErrNotFound with the name, which is well formed.
type TopicNotFoundError struct{ Name string }

// Error names the topic.
func (e *TopicNotFoundError) Error() string { return ErrNoTopic.Error() + ": " + e.Name }

// Unwrap returns ErrNoTopic and ErrNotFound.
func (e *TopicNotFoundError) Unwrap() []error { return []error{ErrNoTopic, ErrNotFound} }

func decodeTopic(name string, data []byte, revision uint64, updated time.Time) (e TopicEntry, deleted bool, err error) {
	var s storedTopic
	if err := decodeStored(data, &s, &s.Format, "topic "+name); err != nil {
		return TopicEntry{}, false, err
	}
	return TopicEntry{Topic: s.Topic, Deleting: s.Deleting, Revision: revision, Updated: updated}, !s.Deleted.IsZero(), nil
}

// Topics returns every topic that can be read, ordered by name, and an error that names
// those that cannot.
func (r *Registry) Topics(ctx context.Context) ([]TopicEntry, error) {
	return list(ctx, r, topicKeys, "topics", decodeTopic)
}

// Change tells what PutTopic would do to the entry, the zero TopicEntry standing for a topic
// that is not there.
func (e *TopicEntry) Change(t Topic) Change {
	switch t = t.WithDefaults(); {
	case e.Revision == 0:
		return Created
	case e.Topic == t:
		return Unchanged
	default:
		return Changed
	}
}

// PutTopic creates or changes a topic: it validates, brings the topic's stream up to the
// configuration, which a topic that is unchanged needs, too, where somebody else has changed
// the stream, and stores. expect is the revision that the caller has seen, 0 for a topic
// that must be new; another one is ErrRevision.
func (r *Registry) PutTopic(ctx context.Context, t Topic, expect uint64) (TopicEntry, error) {
	t = t.WithDefaults()
	if err := t.Validate(); err != nil {
		return TopicEntry{}, fmt.Errorf("topic %q: %w", t.Name, err)
	}
	old, former, err := r.topic(ctx, t.Name)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return TopicEntry{}, err
	}
	if old.Revision != expect {
		return TopicEntry{}, fmt.Errorf("%w: topic %s is at revision %d, not %d", ErrRevision, t.Name, old.Revision, expect)
	}
	if old.Deleting {
		return TopicEntry{}, fmt.Errorf("%w: %s; delete it again first", ErrTopicDeleting, t.Name)
	}
	next := TopicEntry{Topic: t, Revision: old.Revision}
	lost := ""
	if old.Revision != 0 {
		lost = topicLoss
	}
	if err := r.applyTopicStream(ctx, next, lost); err != nil || old.Change(t) == Unchanged {
		return old, err
	}
	return r.storeTopic(ctx, storedTopic{Topic: t}, max(expect, former))
}

// applyTopicStream brings the stream of a topic up to its entry. lost says what a missing one
// held; "": it is new.
func (r *Registry) applyTopicStream(ctx context.Context, e TopicEntry, lost string) error {
	replicas, err := r.replicas(ctx)
	if err != nil {
		return err
	}
	return r.applyOne(ctx, topicStream(r.names, e, replicas), lost, "topic "+e.Topic.Name)
}

func (r *Registry) storeTopic(ctx context.Context, s storedTopic, expect uint64) (TopicEntry, error) {
	s.Format = wire.Format
	revision, err := r.write(ctx, topicKeys+s.Topic.Name, s, expect, "topic "+s.Topic.Name)
	if err != nil {
		return TopicEntry{}, err
	}
	return TopicEntry{Topic: s.Topic, Deleting: s.Deleting, Revision: revision, Updated: time.Now()}, nil
}

// Readers returns the channels that read a topic, deleted ones that can be restored among
// them.
func (r *Registry) Readers(ctx context.Context, topic string) ([]Entry, error) {
	entries, err := r.List(ctx)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(entries, func(e Entry) bool { return !e.Config.Reads(topic) }), nil
}

// Takers returns the names, in their order, of the channels that read a topic and take a key,
// without deleted ones.
func (r *Registry) Takers(ctx context.Context, topic, key string) ([]string, error) {
	readers, err := r.Readers(ctx, topic)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, e := range readers {
		if e.Deleted.IsZero() && e.Config.Takes(key) {
			out = append(out, e.Config.Name)
		}
	}
	return out, nil
}

// DeleteTopic removes a topic and what it holds, for good; what targets hold stays there. It
// fails with ErrTopicRead while channels read it. expect is the entry's revision, or the
// error wraps ErrRevision. It may be repeated: the topic is claimed before anything of it is
// removed, and ends last.
func (r *Registry) DeleteTopic(ctx context.Context, name string, expect uint64) error {
	e, err := r.Topic(ctx, name)
	if err != nil {
		return err
	}
	if e.Revision != expect {
		return fmt.Errorf("%w: topic %s is at revision %d, not %d", ErrRevision, name, e.Revision, expect)
	}
	if err := r.unread(ctx, name); err != nil {
		return err
	}
	if !e.Deleting {
		if e, err = r.storeTopic(ctx, storedTopic{Topic: e.Topic, Deleting: true}, e.Revision); err != nil {
			return err
		}
	}
	// A channel that was made meanwhile is seen here, or sees the claim, see Put.
	if err := r.unread(ctx, name); err != nil {
		_, back := r.storeTopic(ctx, storedTopic{Topic: e.Topic}, e.Revision)
		return errors.Join(err, back)
	}
	err = r.js.DeleteStream(ctx, wire.UpdateStream(r.names, events.ToTopic(name)))
	if err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
		return fmt.Errorf("delete topic %s: %w", name, err)
	}
	_, err = r.storeTopic(ctx, storedTopic{Topic: Topic{Name: name}, Deleted: time.Now().UTC().Truncate(time.Second)}, e.Revision)
	return err
}

// unread fails with ErrTopicRead while channels read a topic.
func (r *Registry) unread(ctx context.Context, name string) error {
	readers, err := r.Readers(ctx, name)
	if err == nil && len(readers) > 0 {
		err = fmt.Errorf("%w: %s; delete them with 'extsync channels delete CHANNEL --purge' first", ErrTopicRead, nameThem(readers))
	}
	return err
}

// checkTopic fails if the topic that a channel reads is not there, or about to go.
func (r *Registry) checkTopic(ctx context.Context, c *Config) error {
	if c.From == nil {
		return nil
	}
	e, err := r.Topic(ctx, c.From.Topic)
	if err == nil && e.Deleting {
		err = fmt.Errorf("%w: %s", ErrTopicDeleting, c.From.Topic)
	}
	if err != nil {
		return fmt.Errorf("channel %s: from: %w", c.Name, err)
	}
	return nil
}

// undoWithoutTopic removes a channel that was made while its topic was deleted.
func (r *Registry) undoWithoutTopic(ctx context.Context, e Entry) error {
	err := r.checkTopic(ctx, &e.Config)
	if !errors.Is(err, ErrTopicDeleting) && !errors.Is(err, ErrNoTopic) {
		return nil // it was there a moment ago, and this is no news of it
	}
	now := time.Now()
	e.Deleted = now.UTC().Truncate(time.Second)
	_, undone := r.remove(ctx, e, now)
	return errors.Join(err, undone)
}

func nameThem(entries []Entry) string {
	const most = 5
	var names []string
	for _, e := range entries[:min(len(entries), most)] {
		names = append(names, e.Config.Name)
	}
	if more := len(entries) - most; more > 0 {
		names = append(names, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(names, ", ")
}
