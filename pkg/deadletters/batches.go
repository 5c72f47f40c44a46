package deadletters

import (
	"context"
	"errors"
	"iter"

	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// A Batch is a part of the letters that a filter selects.
type Batch struct {
	Entries []Entry // oldest first; may be empty
	Last    uint64  // up to this letter all were looked at
	// Records are what the ledger says of the letters' keys, in the order of Entries.
	Records []wire.Record
}

// Batches gives the letters that a filter selects, oldest first, from a sequence on: those
// that there are when it begins. It holds a few hundred at a time. After an error, which is
// one of List's, nothing more comes.
func (s *Store) Batches(ctx context.Context, f Filter, from uint64) iter.Seq2[Batch, error] {
	return func(yield func(Batch, error) bool) {
		for p, err := range s.portions(ctx, f, from) {
			b := Batch{Last: p.last, Entries: make([]Entry, len(p.letters)), Records: make([]wire.Record, len(p.letters))}
			for i := range p.letters {
				b.Entries[i], b.Records[i] = p.letters[i].entry(), p.letters[i].rec
			}
			if !yield(b, err) || err != nil {
				return
			}
		}
	}
}

// Left returns how many letters there are from a sequence on that a filter may select: all that are
// of its channel and key. It looks at none of them. The errors are those of List.
func (s *Store) Left(ctx context.Context, f Filter, from uint64) (int, error) {
	subject, err := f.check(s.names)
	if err != nil {
		return 0, err
	}
	count, err := wire.CountFrom(ctx, s.js, wire.DeadStream(s.names), subject, from)
	return int(count.Messages), unavailable(err) //nolint:gosec // a stream has fewer messages
}

// End returns the last place in the stream of all letters.
func (s *Store) End(ctx context.Context) (wire.Mark, error) {
	info, err := s.stream.Info(ctx)
	if err != nil {
		return wire.Mark{}, unavailable(err)
	}
	return wire.Mark{Sequence: info.State.LastSeq, Stored: info.State.LastTime}, nil
}

// Fate says what became of the update of a letter that is gone: that it was delivered, or
// that a newer version has superseded it; "" if the ledger knows neither, such as of one that
// was discarded.
func (s *Store) Fate(ctx context.Context, channel, encodedKey string, version versioning.Version) (events.Outcome, error) {
	rec, _, err := s.ledger.GetEncoded(ctx, channel, encodedKey)
	switch {
	case errors.Is(err, events.ErrNoRecord):
		return "", nil
	case err != nil:
		return "", err
	case version == rec.Applied.Version:
		return events.Delivered, nil
	case older(version, rec.Applied.Version):
		if s, ok := rec.Find(versioning.Tag{Version: version}); ok && s.Outcome == events.Delivered {
			return events.Delivered, nil
		}
		return events.Superseded, nil
	default:
		return "", nil
	}
}
