package channels

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
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

// list returns every entry that can be read under keys that begin so, ordered by name, and
// an error that names those that cannot. decode also says whether what the entry is about
// has ended.
func list[E any](ctx context.Context, r *Registry, prefix, what string, decode func(name string, data []byte, revision uint64, updated time.Time) (E, bool, error)) ([]E, error) {
	found := map[string]E{}
	var errs []error
	bucket := wire.RegistryBucket(r.names)
	subject := wire.KVSubject(bucket, prefix)
	// To the end, wherever that is then: an entry that is stored meanwhile is there.
	all := wire.StreamQuery{Stream: wire.KVStream(bucket), Subject: subject + "*", Until: math.MaxUint64}
	for msg, err := range wire.ReadStream(ctx, r.js, all) {
		if err != nil {
			return nil, fmt.Errorf("list %s: %w", what, err)
		}
		if msg.Header.Get(kvOperation) != "" {
			continue
		}
		name := strings.TrimPrefix(msg.Subject, subject)
		e, ended, err := decode(name, msg.Data, msg.Sequence, msg.Time)
		switch {
		case err != nil:
			errs = append(errs, err)
		case ended:
			delete(found, name)
		default: // one that was stored while others were read comes twice, the newer one last
			found[name] = e
		}
	}
	out := make([]E, 0, len(found))
	for _, name := range slices.Sorted(maps.Keys(found)) {
		out = append(out, found[name])
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
