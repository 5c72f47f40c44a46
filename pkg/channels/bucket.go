package channels

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/internal/wire"
)

// The registry's bucket has an entry for each channel under its name, and one for each topic
// under its name behind topicKeys. What has ended keeps an entry that says so: were it
// removed, a killed broker could bring back the one before it.

// topicKeys begin the registry's keys of topics. No channel has a dot in its name.
const topicKeys = "topic."

// A decoder reads an entry, and says whether what it is about has ended.
type decoder[E any] func(name string, data []byte, revision uint64, updated time.Time) (e E, ended bool, err error)

// listTime bounds how long a list of the registry takes.
const listTime = 5 * time.Second

// list returns every entry that can be read under keys that begin so, ordered by name, and
// an error that names those that cannot.
func list[E any](ctx context.Context, r *Registry, prefix, what string, decode decoder[E]) ([]E, error) {
	ctx, cancel := context.WithTimeout(ctx, listTime) // others wait for it
	defer cancel()
	select {
	case r.listing <- struct{}{}:
		defer func() { <-r.listing }()
	case <-ctx.Done():
		return nil, fmt.Errorf("list %s: %w", what, wire.MarkUnavailable(ctx.Err()))
	}
	if err := r.shelf.refresh(ctx); err != nil {
		return nil, fmt.Errorf("list %s: %w", what, err)
	}
	return shelved(r.shelf, prefix, decode)
}

// shelved is list, of what is on a shelf.
func shelved[E any](s *shelf, prefix string, decode decoder[E]) ([]E, error) {
	out, errs := make([]E, 0, len(s.kept)), []error(nil)
	for _, key := range slices.Sorted(maps.Keys(s.kept)) {
		name, ok := strings.CutPrefix(key, prefix)
		if !ok || strings.Contains(name, ".") {
			continue
		}
		k := s.kept[key]
		switch e, ended, err := decode(name, k.Value(), k.Revision(), k.Created()); {
		case err != nil:
			errs = append(errs, err)
		case !ended:
			out = append(out, e)
		}
	}
	return out, errors.Join(errs...)
}

// decodeStored reads an entry, whose format must be known here. whose is for errors.
func decodeStored(data []byte, into any, format *int, whose string) error {
	err := json.Unmarshal(data, into)
	if err == nil {
		err = wire.CheckFormat(*format)
	}
	if err != nil {
		return fmt.Errorf("%s in the registry: %w", whose, err)
	}
	return nil
}

// write stores an entry in the place of the one with revision expect, 0 for none, and returns
// its revision. Another one is ErrRevision. whose is for errors.
func (r *Registry) write(ctx context.Context, key string, entry any, expect uint64, whose string) (revision uint64, err error) {
	data, err := json.Marshal(entry)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", whose, err)
	}
	if expect == 0 {
		revision, err = r.kv.Create(ctx, key, data)
	} else {
		revision, err = r.kv.Update(ctx, key, data, expect)
	}
	if errors.Is(err, jetstream.ErrKeyExists) || wire.IsWrongSequence(err) {
		return 0, fmt.Errorf("%w: %s", ErrRevision, whose)
	}
	if err != nil {
		return 0, fmt.Errorf("store %s: %w", whose, err)
	}
	return revision, nil
}
