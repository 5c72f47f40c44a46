package connnats

import (
	"context"

	"golang.org/x/sync/errgroup"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/events"
)

// Read returns what is there of the keys.
func (k *keeper) Read(ctx context.Context, keys []string) ([]connectors.Held, error) {
	all, err := k.look(ctx, keys)
	out := make([]connectors.Held, len(all))
	for i := range all {
		out[i] = all[i].Held
	}
	return out, err
}

// Compare looks whether the payloads are still those of the attempts.
func (k *keeper) Compare(ctx context.Context, attempts []connectors.Attempt) ([]connectors.Comparison, error) {
	keys := make([]string, len(attempts))
	for i := range attempts {
		keys[i] = attempts[i].Key
	}
	all, err := k.look(ctx, keys)
	out := make([]connectors.Comparison, len(all))
	for i, f := range all {
		out[i].Held = f.Held
		a := &attempts[i]
		there := string(f.payload) != string(k.message("", a).Data)
		if there && (f.Version == a.Version && !f.IsZero() || f.foreign && a.Op == events.Delete) {
			out[i].Changed = []string{"payload"}
		}
	}
	return out, err
}

// Fetch shows the payload that is there beside that of the attempt.
func (k *keeper) Fetch(ctx context.Context, a connectors.Attempt) (connectors.Fetched, error) {
	all, err := k.look(ctx, []string{a.Key})
	if err != nil {
		return connectors.Fetched{}, err
	}
	f := all[0]
	out := connectors.Fetched{Held: f.Held, There: !f.IsZero() || f.foreign}
	var theirs []byte
	if len(f.payload) > 0 {
		theirs = f.payload
	}
	out.Parts = []connectors.Part{connectors.ContentPart(a.Payload, theirs, string(a.Payload) != string(theirs))}
	return out, nil
}

// look reads the last messages of keys, several at once.
func (k *keeper) look(ctx context.Context, keys []string) ([]found, error) {
	ctx, end := k.link.begin(ctx)
	defer end()
	if len(keys) == 0 {
		return nil, nil
	}
	s, err := k.link.get(ctx)
	if err != nil {
		return nil, explain(ctx, err)
	}
	out := make([]found, len(keys))
	group, within := errgroup.WithContext(ctx)
	group.SetLimit(k.readers)
	for i, key := range keys {
		group.Go(func() error {
			token, err := events.EncodeKey(key)
			if err != nil {
				return nil //nolint:nilerr // nothing can be there under such a key
			}
			out[i], err = k.last(within, s, k.subject+token)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, explain(ctx, err)
	}
	return out, nil
}
