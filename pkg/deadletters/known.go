package deadletters

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/hms-utl/extsync/internal/wire"
)

const (
	// listEndedFrom is from how many keys on all keys with ended letters are listed first:
	// there are few as a rule, and the broker says in one answer which.
	listEndedFrom = 64
	// endedListed bounds that list; with more, the broker is asked for each key.
	endedListed = 20_000
)

// A knownKey is what is known of a key: its records in the ledger and in the bucket of
// ended letters.
type knownKey struct {
	rec   wire.Record
	ended ended
}

// knowledge is what a scan finds out about the keys of its letters.
type knowledge struct {
	s *Store
	// listed: have says which subjects of the bucket of ended letters there were when the
	// scan began to look. A letter that ends later is shown as it was; who acts on one
	// judges it again.
	listed bool
	have   map[string]bool // nil: too many
}

// judge finds out the states of letters, side by side, and returns those that the filter
// selects. The record of a key is read once.
func (k *knowledge) judge(ctx context.Context, f Filter, chunk []letter) ([]letter, error) {
	known, err := k.read(ctx, chunk)
	if err != nil {
		return nil, err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(judgeAtOnce)
	for i := range chunk {
		l := &chunk[i]
		group.Go(func() error {
			of := known[wire.ChannelKey{Channel: l.Channel, Encoded: l.EncodedKey}]
			err := k.s.judgeBy(ctx, l, &of.rec, &of.ended)
			l.rec = of.rec
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	var selected []letter
	for i := range chunk {
		if f.matchesState(chunk[i].State) {
			selected = append(selected, chunk[i])
		}
	}
	return selected, nil
}

// read reads what is known of the keys of some letters.
func (k *knowledge) read(ctx context.Context, chunk []letter) (map[wire.ChannelKey]*knownKey, error) {
	known := make(map[wire.ChannelKey]*knownKey, len(chunk))
	keys := make([]wire.ChannelKey, 0, len(chunk))
	for i := range chunk {
		id := wire.ChannelKey{Channel: chunk[i].Channel, Encoded: chunk[i].EncodedKey}
		if known[id] == nil {
			known[id] = &knownKey{}
			keys = append(keys, id)
		}
	}
	// In this order: what has ended is noted before anything else is.
	if err := k.readEnded(ctx, keys, known); err != nil {
		return nil, fmt.Errorf("read which letters have ended: %w", unavailable(err))
	}
	records, err := k.s.ledger.GetMany(ctx, keys)
	if err != nil {
		return nil, err
	}
	for i, id := range keys {
		known[id].rec = records[i]
	}
	return known, nil
}

func (k *knowledge) readEnded(ctx context.Context, keys []wire.ChannelKey, known map[wire.ChannelKey]*knownKey) error {
	bucket := wire.LettersBucket(k.s.names)
	if len(keys) >= listEndedFrom && !k.listed {
		if err := k.listEnded(ctx, bucket); err != nil {
			return err
		}
	}
	var subjects []string
	var of []wire.ChannelKey
	for _, id := range keys {
		subject := wire.KVSubject(bucket, id.Channel+"."+id.Encoded)
		if k.have == nil || k.have[subject] {
			subjects, of = append(subjects, subject), append(of, id)
		}
	}
	found, err := wire.ReadLastFromLeader(ctx, k.s.js, wire.KVStream(bucket), subjects)
	if err != nil {
		return err
	}
	for i, msg := range found {
		if msg == nil || len(msg.Data) == 0 {
			continue
		}
		e := &known[of[i]].ended
		if err := json.Unmarshal(msg.Data, e); err != nil {
			return fmt.Errorf("record of ended letters: %w", err)
		}
		if err := wire.CheckFormat(e.Format); err != nil {
			return err
		}
	}
	return nil
}

// listEnded lists the keys that have ended letters, if they are not too many.
func (k *knowledge) listEnded(ctx context.Context, bucket string) error {
	k.listed = true
	stream, err := k.s.js.Stream(ctx, wire.KVStream(bucket))
	if err != nil {
		return err
	}
	if stream.CachedInfo().State.NumSubjects > endedListed {
		return nil
	}
	info, err := stream.Info(ctx, jetstream.WithSubjectFilter(wire.KVSubject(bucket, ">")))
	if err != nil {
		return err
	}
	k.have = make(map[string]bool, len(info.State.Subjects))
	for subject := range info.State.Subjects {
		k.have[subject] = true
	}
	return nil
}
