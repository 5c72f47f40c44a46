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
