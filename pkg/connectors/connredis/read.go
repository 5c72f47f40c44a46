package connredis

import (
	"context"
	"errors"
	"slices"

	"github.com/redis/go-redis/v9"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/events"
)

// How many keys are read at once, without their payloads and with them, and how many bytes
// these payloads may have. One that is larger is read alone.
const (
	mostRead     = 500
	mostCompared = 50
	mostBytes    = 4 << 20
)

// Read returns what the server holds of the keys.
func (c *connector) Read(ctx context.Context, keys []string) ([]connectors.Held, error) {
	out := make([]connectors.Held, 0, len(keys))
	for part := range slices.Chunk(keys, mostRead) {
		found, err := c.look(ctx, part)
		if err != nil {
			return nil, err
		}
		out = append(out, found...)
	}
	return out, nil
}

// look reads the hashes of keys. A key of another type than ours is as one that is not there.
func (c *connector) look(ctx context.Context, keys []string) ([]connectors.Held, error) {
	ctx, end := c.calls.begin(ctx)
	defer end()
	pipe := c.client.Pipeline()
	hashes := make([]*redis.SliceCmd, len(keys))
	for i, key := range keys {
		names, _ := c.keysOf(key)
		hashes[i] = pipe.HMGet(ctx, names[0], "v", "d", "op")
	}
	_, failed := pipe.Exec(ctx) // each command has its own error, if it was sent
	out := make([]connectors.Held, len(keys))
	for i := range keys {
		got, err := hashes[i].Result()
		if err == nil && got == nil {
			err = notAsked(failed)
		}
		if err == nil && len(got) != 3 {
			err = errNoAnswer
		}
		if err != nil && !isForeign(err) {
			return nil, c.explain(ctx, err)
		}
		out[i] = heldOf(got)
	}
	return out, nil
}

// Compare looks whether the payloads are still those of the attempts. What comes from the
// server is no longer than they are.
func (c *connector) Compare(ctx context.Context, attempts []connectors.Attempt) ([]connectors.Comparison, error) {
	out := make([]connectors.Comparison, 0, len(attempts))
	for len(attempts) > 0 {
		n := portion(attempts)
		found, err := c.compare(ctx, attempts[:n])
		if err != nil {
			return nil, err
		}
		out, attempts = append(out, found...), attempts[n:]
	}
	return out, nil
}

// portion returns how many attempts are compared at once.
func portion(attempts []connectors.Attempt) (n int) {
	for size := 0; n < min(len(attempts), mostCompared); n++ {
		if size += len(attempts[n].Payload); n > 0 && size > mostBytes {
			break
		}
	}
	return n
}

func (c *connector) compare(ctx context.Context, attempts []connectors.Attempt) ([]connectors.Comparison, error) {
	found, err := c.findings(ctx, attempts, func(a *connectors.Attempt) int { return len(a.Payload) })
	if err != nil {
		return nil, err
	}
	out := make([]connectors.Comparison, len(attempts))
	for i := range attempts {
		out[i] = connectors.Comparison{Held: found[i].Held, Changed: found[i].changed(&attempts[i])}
	}
	return out, nil
}

// Fetch shows the payload that is there beside that of the attempt. One that is larger than
// mostBytes is not shown.
func (c *connector) Fetch(ctx context.Context, a connectors.Attempt) (connectors.Fetched, error) {
	found, err := c.findings(ctx, []connectors.Attempt{a}, func(*connectors.Attempt) int { return mostBytes })
	if err != nil {
		return connectors.Fetched{}, err
	}
	f := found[0]
	out := connectors.Fetched{Held: f.Held, There: !f.IsZero() || f.payload != nil}
	text, isText := f.payload.(string)
	if f.payload != nil && !isText {
		return out, nil
	}
	var theirs []byte
	if isText {
		theirs = []byte(text)
	}
	out.Parts = []connectors.Part{connectors.ContentPart(a.Payload, theirs, string(a.Payload) != text)}
	return out, nil
}

// findings returns what the server holds of the keys of attempts. No payload is longer than
// room says.
func (c *connector) findings(ctx context.Context, attempts []connectors.Attempt, room func(*connectors.Attempt) int) ([]finding, error) {
	ctx, end := c.calls.begin(ctx)
	defer end()
	asked := make([]once, len(attempts))
	for i := range attempts {
		names, _ := c.keysOf(attempts[i].Key)
		args := []any{"eval", compareScript, len(names)}
		for _, name := range names {
			args = append(args, name)
		}
		asked[i] = once{redis.NewCmd(ctx, append(args, room(&attempts[i]))...)}
	}
	c.send(ctx, asked)
	out := make([]finding, len(attempts))
	for i := range attempts {
		value, err := asked[i].Result()
		if err != nil {
			if redis.HasErrorPrefix(err, "CROSSSLOT") { // which Apply does not write
				continue
			}
			return nil, c.explain(ctx, err)
		}
		there, ok := value.([]any)
		if !ok || len(there) != 4 {
			return nil, c.explain(ctx, errAnswer)
		}
		out[i] = finding{Held: heldOf(there), payload: there[3]}
	}
	return out, nil
}

// errAnswer says that an answer is none of the script's.
var errAnswer = errors.New("the server's answer is not one of the script's")

// A finding is what the server holds of a key. payload is nil if there is none, and no string
// if it cannot be an attempt's.
type finding struct {
	connectors.Held
	payload any
}

// changed returns the name of the payload if it is not that of the attempt.
func (f finding) changed(a *connectors.Attempt) []string {
	switch {
	case f.IsZero() && (a.Op != events.Delete || f.payload == nil), !f.IsZero() && f.Version != a.Version:
		return nil
	case a.Op == events.Delete && f.payload == nil, a.Op != events.Delete && f.payload == string(a.Payload):
		return nil
	default:
		return []string{"payload"}
	}
}
