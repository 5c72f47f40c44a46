package deadletters

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/events"
)

// A broker that was killed may bring back letters that were removed (docs/adr/0032).
// What the ledger says of most of them is for good. Of the others, such as those that
// were discarded, a record says before they are removed that they have ended.

const (
	// endedMost bounds the letters of a key that a record lists one by one.
	endedMost = 1000
	// endedTries bounds how often a record meets a writer that was faster.
	endedTries = 8
)

// ended is the record of a key.
type ended struct {
	Format int `json:"f"`
	// Upto covers the letters of the key that have all ended, Also are those behind it.
	Upto wire.Mark   `json:"upto,omitzero"`
	Also []wire.Mark `json:"also,omitempty"`
}

// has reports whether a letter has ended.
func (e *ended) has(l *letter) bool {
	if e.Upto.Covers(l.Sequence, l.Stored) {
		return true
	}
	return slices.ContainsFunc(e.Also, func(m wire.Mark) bool {
		return m.Sequence == l.Sequence && m.Covers(l.Sequence, l.Stored)
	})
}

// add notes that a letter has ended. older says that there are letters before it that
// have not.
func (e *ended) add(l *letter, older bool) error {
	mark := wire.Mark{Sequence: l.Sequence, Stored: l.Stored}
	if !older {
		e.Upto = mark
		e.Also = slices.DeleteFunc(e.Also, func(m wire.Mark) bool { return m.Sequence <= mark.Sequence })
		return nil
	}
	if len(e.Also) >= endedMost {
		return fmt.Errorf("dead letter %d: %d letters of its key were discarded before an older one; discard the oldest first", l.Sequence, len(e.Also))
	}
	e.Also = append(e.Also, mark)
	return nil
}

// readEnded returns the record of a key, and its revision; the zero record if there is
// none.
func (s *Store) readEnded(ctx context.Context, channel, enc string) (ended, uint64, error) {
	kve, err := s.ended.Get(ctx, channel+"."+enc)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return ended{}, 0, nil
	}
	if err != nil {
		return ended{}, 0, fmt.Errorf("read which letters have ended: %w", unavailable(err))
	}
	var e ended
	if err := json.Unmarshal(kve.Value(), &e); err != nil {
		return ended{}, 0, fmt.Errorf("record of ended letters: %w", err)
	}
	return e, kve.Revision(), wire.CheckFormat(e.Format)
}

// end notes that a letter has ended.
func (s *Store) end(ctx context.Context, l *letter) error {
	for range endedTries {
		e, revision, err := s.readEnded(ctx, l.Channel, l.EncodedKey)
		if err != nil || e.has(l) {
			return err
		}
		older, err := s.olderLeft(ctx, l, &e)
		if err != nil {
			return err
		}
		if err := e.add(l, older); err != nil {
			return err
		}
		e.Format = wire.Format
		data, err := json.Marshal(e)
		if err != nil {
			return fmt.Errorf("record of ended letters: %w", err)
		}
		_, err = s.ended.Update(ctx, l.Channel+"."+l.EncodedKey, data, revision)
		if err == nil {
			return nil
		}
		if !wire.IsWrongSequence(err) && !errors.Is(err, jetstream.ErrKeyExists) {
			return fmt.Errorf("note that dead letter %d has ended: %w", l.Sequence, unavailable(err))
		}
	}
	return fmt.Errorf("%w: channel %s, key %s: gave up after %d tries", events.ErrBusy, l.Channel, l.Key, endedTries)
}

// olderLeft reports whether letters of the key lie before one that have not ended.
func (s *Store) olderLeft(ctx context.Context, l *letter, e *ended) (bool, error) {
	for other, err := range s.lettersOf(ctx, l.subject, 1) {
		if err != nil {
			return false, err
		}
		if other.Sequence >= l.Sequence {
			break
		}
		if !e.has(&other) {
			return true, nil
		}
	}
	return false, nil
}

// judgeEnded decides about a letter that has ended, whatever the ledger says of its
// update. It returns false about the others.
func (s *Store) judgeEnded(ctx context.Context, l *letter, e *ended) (bool, error) {
	is := e.has(l)
	if id := l.header.Get(wire.HeaderChannelID); !is && id != "" {
		ours, err := s.ledger.Owns(ctx, l.Channel, id)
		if err != nil {
			return false, err
		}
		is = !ours
	}
	if is {
		l.State, l.Ended = StateResolved, true
	}
	return is, nil
}
