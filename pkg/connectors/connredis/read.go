package connredis

import (
	"context"
	"slices"

	"github.com/redis/go-redis/v9"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/events"
)

// How many keys are read at once, without their payloads and with them.
const (
	mostRead     = 500
	mostCompared = 50
)

// Read returns what the server holds of the keys.
func (c *connector) Read(ctx context.Context, keys []string) ([]connectors.Held, error) {
	out := make([]connectors.Held, 0, len(keys))
	for part := range slices.Chunk(keys, mostRead) {
		found, err := c.look(ctx, part, false)
		if err != nil {
			return nil, err
		}
		for _, f := range found {
			out = append(out, f.Held)
		}
	}
	return out, nil
}

// Compare looks whether the payloads are still those of the attempts.
func (c *connector) Compare(ctx context.Context, attempts []connectors.Attempt) ([]connectors.Comparison, error) {
	out := make([]connectors.Comparison, 0, len(attempts))
	for part := range slices.Chunk(attempts, mostCompared) {
		keys := make([]string, len(part))
		for i := range part {
			keys[i] = part[i].Key
		}
		found, err := c.look(ctx, keys, true)
		if err != nil {
			return nil, err
		}
		for i, f := range found {
			out = append(out, connectors.Comparison{Held: f.Held, Changed: f.changed(&part[i])})
		}
	}
	return out, nil
}

// Fetch shows the payload that is there beside that of the attempt.
func (c *connector) Fetch(ctx context.Context, a connectors.Attempt) (connectors.Fetched, error) {
	found, err := c.look(ctx, []string{a.Key}, true)
	if err != nil {
		return connectors.Fetched{}, err
	}
	f := found[0]
	out := connectors.Fetched{Held: f.Held, There: !f.IsZero() || f.payload != nil}
	var theirs []byte
	if f.payload != nil {
		theirs = []byte(*f.payload)
	}
	out.Parts = []connectors.Part{connectors.ContentPart(a.Payload, theirs, string(a.Payload) != string(theirs))}
	return out, nil
}

// A finding is what the server holds of a key. payload is nil if there is none.
type finding struct {
	connectors.Held
	payload *string
}

// changed returns the name of the payload if it is not that of the attempt.
func (f finding) changed(a *connectors.Attempt) []string {
	switch {
	case f.IsZero() && (a.Op != events.Delete || f.payload == nil), !f.IsZero() && f.Version != a.Version:
		return nil
	case a.Op == events.Delete && f.payload == nil, a.Op != events.Delete && f.payload != nil && *f.payload == string(a.Payload):
		return nil
	default:
		return []string{"payload"}
	}
}

// look reads the hashes of keys, and their payloads if they are asked for. A key of another
// type than ours is as one that is not there.
func (c *connector) look(ctx context.Context, keys []string, payloads bool) ([]finding, error) {
	ctx, end := c.calls.begin(ctx)
	defer end()
	pipe := c.client.Pipeline()
	hashes, values := make([]*redis.SliceCmd, len(keys)), make([]*redis.StringCmd, len(keys))
	fields := []string{"v", "d", "op"}
	if payloads && c.cfg.Layout == hashLayout {
		fields = append(fields, "data")
	}
	for i, key := range keys {
		names, _ := c.keysOf(key)
		hashes[i] = pipe.HMGet(ctx, names[0], fields...)
		if payloads && len(names) > 1 {
			values[i] = pipe.Get(ctx, names[1])
		}
	}
	_, failed := pipe.Exec(ctx) // each command has its own error, if it was sent
	out := make([]finding, len(keys))
	for i := range keys {
		got, err := hashes[i].Result()
		if err == nil && got == nil {
			err = notAsked(failed)
		}
		if err == nil && len(got) != len(fields) {
			err = errNoAnswer
		}
		if err != nil && !isForeign(err) {
			return nil, c.explain(ctx, err)
		}
		out[i].Held = heldOf(got)
		if len(got) > 3 && got[3] != nil {
			payload := text(got, 3)
			out[i].payload = &payload
		}
		if values[i] == nil {
			continue
		}
		payload, err := values[i].Result()
		switch {
		case err == nil, isForeign(err):
			out[i].payload = &payload
		case !isAbsent(err):
			return nil, c.explain(ctx, err)
		}
	}
	return out, nil
}
