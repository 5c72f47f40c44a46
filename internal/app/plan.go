package app

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/events"
)

// A Plan is what Apply would do to one channel, field by field.
type Plan struct {
	Channel string          `json:"channel"`
	Change  channels.Change `json:"change"`
	Fields  []FieldChange   `json:"fields"`
	// Paused says that the channel is paused and would stay so: the configuration does
	// not say otherwise.
	Paused bool `json:"paused,omitempty"`
	// Drift is what is wrong with the channel's stream, which Apply would put right.
	Drift *channels.Drift `json:"drift,omitempty"`
}

// A FieldChange is one field of a channel's configuration that would get another
// value. Old or New is empty where the field is not set.
type FieldChange struct {
	Field string          `json:"field"` // such as retry.max_attempts
	Old   json.RawMessage `json:"old,omitempty"`
	New   json.RawMessage `json:"new,omitempty"`
}

// Plan says what Apply would do, and changes nothing: to streams of all channels that
// are gone, and to each channel. It works on a broker that is not provisioned.
func (c *Client) Plan(ctx context.Context, configs []channels.Config) ([]channels.Loss, []Plan, error) {
	missing, err := c.missing(ctx)
	if err != nil {
		return nil, nil, err
	}
	plan, err := c.plan(ctx, configs)
	return missing, plan, err
}

func (c *Client) plan(ctx context.Context, configs []channels.Config) ([]Plan, error) {
	registry, err := channels.ReadRegistry(ctx, c.JS, c.Names)
	if err != nil && !errors.Is(err, events.ErrNotProvisioned) {
		return nil, err
	}
	out := make([]Plan, 0, len(configs))
	for _, cfg := range configs {
		var old channels.Entry
		if registry != nil {
			if old, err = registry.Get(ctx, cfg.Name); err != nil && !errors.Is(err, channels.ErrNotFound) {
				return nil, err
			}
		}
		p := Plan{Channel: cfg.Name, Fields: []FieldChange{}, Paused: old.Paused() && cfg.Paused == nil}
		if p.Change, err = old.Change(cfg); err != nil {
			return nil, err
		}
		if p.Change != channels.Unchanged {
			if p.Fields, err = fieldChanges(old, old.Wanted(cfg)); err != nil {
				return nil, fmt.Errorf("channel %s: %w", cfg.Name, err)
			}
		}
		if old.Revision != 0 {
			if p.Drift, err = registry.DriftOf(ctx, old); err != nil {
				return nil, err
			}
			if p.Drift != nil && p.Change == channels.Unchanged {
				p.Change = channels.Mended
			}
		}
		out = append(out, p)
	}
	return out, nil
}

func fieldChanges(old channels.Entry, cfg channels.Config) ([]FieldChange, error) {
	before := map[string]json.RawMessage{}
	if old.Revision != 0 {
		data, err := json.Marshal(old.Config)
		if err != nil {
			return nil, err
		}
		flatten("", data, before)
	}
	data, err := json.Marshal(cfg)
	if err != nil {
		return nil, err
	}
	after := map[string]json.RawMessage{}
	flatten("", data, after)
	changes := []FieldChange{}
	for field, value := range after {
		if !bytes.Equal(before[field], value) {
			changes = append(changes, FieldChange{Field: field, Old: before[field], New: value})
		}
	}
	for field, value := range before {
		if _, ok := after[field]; !ok {
			changes = append(changes, FieldChange{Field: field, Old: value})
		}
	}
	slices.SortFunc(changes, func(a, b FieldChange) int { return cmp.Compare(a.Field, b.Field) })
	return changes, nil
}

// flatten collects the values of a JSON document that are no objects, under the
// names of the fields that lead to them.
func flatten(path string, data json.RawMessage, into map[string]json.RawMessage) {
	var object map[string]json.RawMessage
	if json.Unmarshal(data, &object) != nil || object == nil {
		var compact bytes.Buffer
		if json.Compact(&compact, data) == nil {
			data = compact.Bytes()
		}
		into[path] = data
		return
	}
	for name, value := range object {
		if path != "" {
			name = path + "." + name
		}
		flatten(name, value, into)
	}
}
