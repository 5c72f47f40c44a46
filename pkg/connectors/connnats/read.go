package connnats

import (
	"context"

	"golang.org/x/sync/errgroup"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/events"
)

// Read returns what is there of the keys.
func (k *keeper) Read(ctx context.Context, keys []string) ([]connectors.Held, error) {
	out := make([]connectors.Held, len(keys))
	if err := k.look(ctx, keys, func(i int, f found) { out[i] = f.Held }); err != nil {
		return nil, err
	}
	return out, nil
}

// Compare looks whether the payloads are still those of the attempts.
func (k *keeper) Compare(ctx context.Context, attempts []connectors.Attempt) ([]connectors.Comparison, error) {
	keys := make([]string, len(attempts))
	for i := range attempts {
		keys[i] = attempts[i].Key
	}
	out := make([]connectors.Comparison, len(attempts))
	err := k.look(ctx, keys, func(i int, f found) {
		out[i].Held = f.Held
		a := &attempts[i]
		there := string(f.payload) != string(k.message("", a).Data)
		if there && (f.Version == a.Version && !f.IsZero() || f.foreign && a.Op == events.Delete) {
			out[i].Changed = []string{"payload"}
		}
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// Fetch shows the payload that is there beside that of the attempt.
func (k *keeper) Fetch(ctx context.Context, a connectors.Attempt) (connectors.Fetched, error) {
	var f found
	if err := k.look(ctx, []string{a.Key}, func(_ int, got found) { f = got }); err != nil {
		return connectors.Fetched{}, err
	}
	out := connectors.Fetched{Held: f.Held, There: !f.IsZero() || f.foreign}
	var theirs []byte
	if len(f.payload) > 0 {
		theirs = f.payload
	}
	out.Parts = []connectors.Part{connectors.ContentPart(a.Payload, theirs, string(a.Payload) != string(theirs))}
	return out, nil
}

// look reads the last messages of keys, several at once, and calls take with each of them,
// several times at once, too. No more payloads are in memory than are read at once.
func (k *keeper) look(ctx context.Context, keys []string, take func(i int, f found)) error {
	ctx, end := k.link.begin(ctx)
	defer end()
	if len(keys) == 0 {
		return nil
	}
	s, err := k.link.get(ctx)
	if err != nil {
		return explain(ctx, err)
	}
	group, within := errgroup.WithContext(ctx)
	group.SetLimit(k.readers)
	for i, key := range keys {
		group.Go(func() error {
			token, err := events.EncodeKey(key)
			if err != nil {
				return nil //nolint:nilerr // nothing can be there under such a key
			}
			f, err := k.last(within, s, k.subject+token)
			if err == nil {
				take(i, f)
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return explain(ctx, err)
	}
	return nil
}
