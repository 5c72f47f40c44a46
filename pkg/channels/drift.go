package channels

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/pkg/events"
)

// A Drift is a stream that is not as provisioning, or putting its channel, would
// make it.
type Drift struct {
	Stream  string `json:"stream"`
	Missing bool   `json:"missing,omitempty"`
	// Lost says what a missing one held, for people.
	Lost string `json:"lost,omitempty"`
	// Fields that differ, each as "name: is X, should be Y".
	Fields []string `json:"fields,omitempty"`
}

// SharedDrift compares the streams and buckets that all channels share with what
// Reserve would make with the same storage.
func SharedDrift(ctx context.Context, js jetstream.JetStream, names events.Names, storage Storage) ([]Drift, error) {
	storage = storage.withDefaults()
	entries, err := known(ctx, js, names)
	if err != nil {
		return nil, err
	}
	least := quotas(names, configsWith(entries, nil))
	var out []Drift
	for _, want := range sharedStreams(names, storage) {
		want.Replicas, want.MaxBytes = storage.Replicas, max(want.MaxBytes, least[want.Name])
		d, err := drift(ctx, js, want)
		if err != nil {
			return nil, err
		}
		for i := range d {
			d[i].lose(sharedLoss(names, want.Name))
		}
		out = append(out, d...)
	}
	return out, nil
}

// Drift compares the streams of all channels and topics with what their entries ask for.
func (r *Registry) Drift(ctx context.Context) ([]Drift, error) {
	replicas, err := r.replicas(ctx)
	if err != nil {
		return nil, err
	}
	entries, err := r.List(ctx)
	if err != nil {
		return nil, err
	}
	var out []Drift
	for _, e := range entries {
		d, err := drift(ctx, r.js, channelStream(r.names, e, replicas))
		if err != nil {
			return nil, err
		}
		for i := range d {
			d[i].lose(channelLoss(e.Config))
		}
		out = append(out, d...)
	}
	topics, err := r.Topics(ctx)
	if err != nil {
		return nil, err
	}
	for _, t := range topics {
		d, err := drift(ctx, r.js, topicStream(r.names, t, replicas))
		if err != nil {
			return nil, err
		}
		for i := range d {
			d[i].lose(topicLoss)
		}
		out = append(out, d...)
	}
	return out, nil
}

// DriftOf is Drift for one channel; nil if its stream is as it should be.
func (r *Registry) DriftOf(ctx context.Context, e Entry) (*Drift, error) {
	replicas, err := r.replicas(ctx)
	if err != nil {
		return nil, err
	}
	d, err := drift(ctx, r.js, channelStream(r.names, e, replicas))
	if err != nil || len(d) == 0 {
		return nil, err
	}
	d[0].lose(channelLoss(e.Config))
	return &d[0], nil
}

func (d *Drift) lose(what string) {
	if d.Missing {
		d.Lost = what
	}
}

func drift(ctx context.Context, js jetstream.JetStream, want jetstream.StreamConfig) ([]Drift, error) {
	var stream jetstream.Stream
	err := persist(ctx, func(ctx context.Context) (err error) {
		stream, err = js.Stream(ctx, want.Name)
		return err
	})
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return []Drift{{Stream: want.Name, Missing: true}}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look at stream %s: %w", want.Name, err)
	}
	is := stream.CachedInfo().Config
	d := Drift{Stream: want.Name}
	field(&d, "subjects", fmt.Sprint(sortedCopy(is.Subjects)), fmt.Sprint(sortedCopy(want.Subjects)))
	field(&d, "replicas", max(is.Replicas, 1), max(want.Replicas, 1))
	field(&d, "max_bytes", Bytes(is.MaxBytes), Bytes(want.MaxBytes))
	field(&d, "max_age", is.MaxAge, want.MaxAge)
	field(&d, "max_msgs_per_subject", max(is.MaxMsgsPerSubject, 0), want.MaxMsgsPerSubject)
	field(&d, "retention", is.Retention, want.Retention)
	field(&d, "discard", is.Discard, want.Discard)
	field(&d, "storage", is.Storage, want.Storage)
	field(&d, "allow_direct", is.AllowDirect, want.AllowDirect)
	field(&d, "allow_rollup_hdrs", is.AllowRollup, want.AllowRollup)
	field(&d, "allow_msg_ttl", is.AllowMsgTTL, want.AllowMsgTTL)
	field(&d, "allow_msg_schedules", is.AllowMsgSchedules, want.AllowMsgSchedules)
	field(&d, "deny_delete", is.DenyDelete, want.DenyDelete)
	field(&d, "deny_purge", is.DenyPurge, want.DenyPurge)
	field(&d, "discard_new_per_subject", is.DiscardNewPerSubject, want.DiscardNewPerSubject)
	field(&d, "subject_transform", text(is.SubjectTransform), text(want.SubjectTransform))
	field(&d, "republish", text(is.RePublish), text(want.RePublish))
	if len(d.Fields) == 0 {
		return nil, nil
	}
	return []Drift{d}, nil
}

func field[T comparable](d *Drift, name string, is, want T) {
	if is != want {
		d.Fields = append(d.Fields, fmt.Sprintf("%s: is %v, should be %v", name, is, want))
	}
}

func text[T any](v *T) string {
	if v == nil {
		return "none"
	}
	return fmt.Sprintf("%+v", *v)
}

func sortedCopy[T cmp.Ordered](in []T) []T { return slices.Sorted(slices.Values(in)) }
