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

// A decoder reads an entry, and says whether what it is about has ended.
type decoder[E any] func(name string, data []byte, revision uint64, updated time.Time) (e E, ended bool, err error)

// listed collects entries as they are read, one bad entry hiding no other.
type listed[E any] struct {
	found map[string]E
	errs  []error
}

// add adds an entry. One that comes twice was stored while others were read: the newer is last.
func (l *listed[E]) add(name string, msg *jetstream.RawStreamMsg, decode decoder[E]) {
	e, ended, err := decode(name, msg.Data, msg.Sequence, msg.Time)
	switch {
	case err != nil:
		l.errs = append(l.errs, err)
	case ended:
		delete(l.found, name)
	default:
		if l.found == nil {
			l.found = map[string]E{}
		}
		l.found[name] = e
	}
}

// all returns the entries, ordered by name, and an error that names those that cannot be read.
func (l *listed[E]) all() ([]E, error) {
	out := make([]E, 0, len(l.found))
	for _, name := range slices.Sorted(maps.Keys(l.found)) {
		out = append(out, l.found[name])
	}
	return out, errors.Join(l.errs...)
}

// list returns every entry that can be read under keys that begin so, ordered by name, and
// an error that names those that cannot.
func list[E any](ctx context.Context, r *Registry, prefix, what string, decode decoder[E]) ([]E, error) {
	var l listed[E]
	bucket := wire.RegistryBucket(r.names)
	subject := wire.KVSubject(bucket, prefix)
	// To the end, wherever that is then: an entry that is stored meanwhile is there.
	all := wire.StreamQuery{Stream: wire.KVStream(bucket), Subject: subject + "*", Until: math.MaxUint64}
	for msg, err := range wire.ReadStream(ctx, r.js, all) {
		if err != nil {
			return nil, fmt.Errorf("list %s: %w", what, err)
		}
		if msg.Header.Get(kvOperation) == "" {
			l.add(strings.TrimPrefix(msg.Subject, subject), msg, decode)
		}
	}
	return l.all()
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
