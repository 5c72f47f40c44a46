package operate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/internal/auditlog"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/events"
)

// A Topic is a topic by the registry, with what it holds and who reads it.
type Topic struct {
	Name        string         `json:"name"`
	Description string         `json:"description,omitempty"`
	MaxBytes    channels.Bytes `json:"max_bytes" doc:"That its stream keeps at most"`
	Keys        uint64         `json:"keys" doc:"Of which it holds the newest version"`
	Bytes       uint64         `json:"bytes" doc:"That its stream holds"`
	Channels    []string       `json:"channels" doc:"That read it, in the order of their names"`
	Revision    uint64         `json:"revision"`
	Updated     time.Time      `json:"updated,omitzero"`

	Entry channels.TopicEntry `json:"-"`
}

// A TopicConfig is a topic with its configuration.
type TopicConfig struct {
	Topic

	Config json.RawMessage `json:"config" doc:"With its defaults, in the form that PUT takes"`
}

// A TopicList is topics in the order of their names.
type TopicList struct {
	Topics []Topic `json:"topics"`
}

// A TopicChange is what was done to a topic, or would be.
type TopicChange struct {
	Topic  string          `json:"topic"`
	Change channels.Change `json:"change"`
	// Revision of the registry's entry; 0 in a dry run that would create it.
	Revision uint64 `json:"revision,omitempty" doc:"Of the registry's entry; none in a dry run that would create it"`
}

// Topics lists the topics that allows lets through; nil lets all through. Of the channels
// that read one, those are named that allowsChannel lets through. With an error it returns
// those that could be read.
func (c *Client) Topics(ctx context.Context, allows, allowsChannel func(name string) bool) (TopicList, error) {
	out := TopicList{Topics: []Topic{}}
	registry, err := c.Registry(ctx)
	if err != nil {
		return out, err
	}
	entries, err := registry.Topics(ctx)
	errs := []error{err}
	all, err := registry.List(ctx)
	errs = append(errs, err)
	for _, e := range entries {
		if allows != nil && !allows(e.Topic.Name) {
			continue
		}
		t, err := c.topicOf(ctx, e, all, allowsChannel)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		out.Topics = append(out.Topics, t)
	}
	return out, errors.Join(errs...)
}

// Topic returns a topic, or channels.ErrNotFound. Of the channels that read it, those are
// named that allowsChannel lets through; nil lets all through.
func (c *Client) Topic(ctx context.Context, name string, allowsChannel func(name string) bool) (TopicConfig, error) {
	registry, err := c.Registry(ctx)
	if err != nil {
		return TopicConfig{}, err
	}
	e, err := registry.Topic(ctx, name)
	if err != nil {
		return TopicConfig{}, err
	}
	readers, err := registry.Readers(ctx, name)
	if err != nil {
		return TopicConfig{}, err
	}
	t, err := c.topicOf(ctx, e, readers, allowsChannel)
	if err != nil {
		return TopicConfig{}, err
	}
	data, err := json.Marshal(e.Topic)
	return TopicConfig{Topic: t, Config: data}, err
}

// topicOf returns a topic with those of some channels that read it.
func (c *Client) topicOf(ctx context.Context, e channels.TopicEntry, all []channels.Entry, allowsChannel func(string) bool) (Topic, error) {
	out := Topic{
		Name: e.Topic.Name, Description: e.Topic.Description, MaxBytes: e.Topic.MaxBytes, Channels: []string{}, Revision: e.Revision, Updated: e.Updated, Entry: e,
	}
	for _, r := range all {
		if r.Config.Reads(e.Topic.Name) && r.Deleted.IsZero() && (allowsChannel == nil || allowsChannel(r.Config.Name)) {
			out.Channels = append(out.Channels, r.Config.Name)
		}
	}
	route := events.ToTopic(e.Topic.Name)
	var stream jetstream.Stream
	err := c.forRoute(ctx, route, func(ctx context.Context) (err error) {
		stream, err = c.JS.Stream(ctx, wire.UpdateStream(c.Names, route))
		return err
	})
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return out, nil // doctor says so
	}
	if err != nil {
		return out, fmt.Errorf("topic %s: %w", e.Topic.Name, err)
	}
	state := stream.CachedInfo().State
	out.Keys, out.Bytes = state.Msgs, state.Bytes
	return out, nil
}

// applyTopics brings topics to their configuration.
func (c *Client) applyTopics(ctx context.Context, r *channels.Registry, topics []channels.Topic, dryRun bool) ([]TopicChange, error) {
	out := []TopicChange{}
	for _, t := range topics {
		var change TopicChange
		err := c.patiently(ctx, func(ctx context.Context) (err error) {
			change, err = c.putTopic(ctx, r, t, dryRun, func(uint64) error { return nil })
			return err
		})
		if err != nil {
			return out, err
		}
		out = append(out, change)
	}
	return out, nil
}

// PutTopic brings one topic to its configuration, which is valid. may is asked whether it
// may be done, by the revision of the entry that is there: 0 for none.
func (c *Client) PutTopic(ctx context.Context, t channels.Topic, dryRun bool, may func(revision uint64) error) (TopicChange, error) {
	registry, err := c.Registry(ctx)
	if err != nil {
		return TopicChange{}, err
	}
	return c.putTopic(ctx, registry, t, dryRun, may)
}

func (c *Client) putTopic(ctx context.Context, r *channels.Registry, t channels.Topic, dryRun bool, may func(revision uint64) error) (TopicChange, error) {
	old, err := r.Topic(ctx, t.Name)
	if err != nil && !errors.Is(err, channels.ErrNotFound) {
		return TopicChange{}, err
	}
	if err := may(old.Revision); err != nil {
		return TopicChange{}, err
	}
	change := TopicChange{Topic: t.Name, Change: old.Change(t), Revision: old.Revision}
	if dryRun {
		return change, nil
	}
	act := auditlog.Act{Action: "topic.put", Target: "topic " + t.Name, After: t.WithDefaults()}
	if old.Revision != 0 {
		act.Before = old.Topic
	}
	put := func(ctx context.Context) (any, error) {
		e, err := r.PutTopic(ctx, t, old.Revision)
		change.Revision = e.Revision
		return nil, err
	}
	if change.Change == channels.Unchanged { // at most its stream is mended
		_, err := put(ctx)
		return change, err
	}
	return change, c.Act(ctx, act, put)
}

// DeleteTopic removes a topic that was looked at, and what it holds, for good. It fails with
// channels.ErrTopicRead while channels read it.
func (c *Client) DeleteTopic(ctx context.Context, t Topic) error {
	registry, err := c.Registry(ctx)
	if err != nil {
		return err
	}
	act := auditlog.Act{Action: "topic.delete", Target: "topic " + t.Name, Before: t.Entry.Topic}
	return c.Act(ctx, act, func(ctx context.Context) (any, error) {
		return nil, registry.DeleteTopic(ctx, t.Name, t.Revision)
	})
}

// readersOf returns the names of those channels that read a topic, take a key, and are let
// through by allows; nil lets all through.
func (c *Client) readersOf(ctx context.Context, topic, key string, allows func(channel string) bool) ([]string, error) {
	registry, err := c.Registry(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := registry.Topic(ctx, topic); err != nil {
		return nil, err
	}
	takers, err := registry.Takers(ctx, topic, key)
	return slices.DeleteFunc(takers, func(channel string) bool { return allows != nil && !allows(channel) }), err
}
