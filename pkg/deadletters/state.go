package deadletters

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// A verdict is what the ledger's record says of a letter.
type verdict struct {
	state State
	by    versioning.Version
	// rival says that the record names the update, but as given up at another
	// time: it depends on the key's other letters which of them it means.
	rival bool
	named time.Time
	// lasting: no later record says anything else, but that of a reset.
	lasting bool
}

// weigh decides by the ledger's record about a letter of the update tag that was
// given up at last. A tag without digest stands for any content of the version;
// ok is false if the digest is needed. It has no effects.
func weigh(rec *wire.Record, tag versioning.Tag, last time.Time) (v verdict, ok bool) {
	if older(tag.Version, rec.Applied.Version) {
		return verdict{state: StateResolved, by: rec.Applied.Version, lasting: true}, true
	}
	// The time of the outcome and of the letter are one: where they agree, the
	// ledger means this letter.
	for _, s := range rec.Recent {
		if s.Version == tag.Version && givenUp(s.Outcome) && s.At.Equal(last) && (tag.Digest.IsZero() || tag.Digest == s.Digest) {
			return verdict{state: StateOpen}, true
		}
	}
	if tag.Digest.IsZero() {
		return verdict{}, false
	}
	s, found := rec.Find(tag)
	switch {
	case !found:
		return unnamed(rec, tag), true
	case givenUp(s.Outcome):
		return verdict{state: StateOpen, rival: true, named: s.At}, true
	case s.At.Before(last): // a replay was given up, and that is not in the ledger yet
		return verdict{state: StatePending}, true
	case s.Outcome == events.Superseded && !s.By.IsZero():
		return verdict{state: StateResolved, by: s.By}, true
	default:
		return verdict{state: StateResolved, by: tag.Version, lasting: tag == rec.Applied.Tag}, true
	}
}

// unnamed decides about an update that the record does not list.
func unnamed(rec *wire.Record, tag versioning.Tag) verdict {
	switch {
	case tag == rec.Applied.Tag:
		return verdict{state: StateResolved, by: tag.Version, lasting: true}
	case rec.Settled.IsZero() || older(rec.Settled.Version, tag.Version):
		return verdict{state: StatePending}
	case len(rec.Recent) >= wire.RecentMax:
		// It was settled so long ago that the record has forgotten it. Nothing
		// newer was delivered since, so the letter counts.
		return verdict{state: StateOpen}
	case older(tag.Version, rec.Settled.Version):
		return verdict{state: StateResolved, by: rec.Settled.Version} // superseded by derivation
	default:
		return verdict{state: StatePending}
	}
}

func givenUp(o events.Outcome) bool { return o == events.DeadLettered || o == events.Conflict }

// older reports whether v is surely older than w; nothing is older than none.
func older(v, w versioning.Version) bool {
	c, err := v.Compare(w)
	return err == nil && c < 0
}

// judge finds out a letter's state.
func (s *Store) judge(ctx context.Context, l *letter) error {
	ended, _, err := s.readEnded(ctx, l.Channel, l.EncodedKey)
	if err != nil {
		return err
	}
	rec, _, err := s.ledger.GetEncoded(ctx, l.Channel, l.EncodedKey)
	if err != nil && !errors.Is(err, events.ErrNoRecord) {
		return err
	}
	return s.judgeBy(ctx, l, &rec, &ended)
}

// judgeBy is judge with records that were read before.
func (s *Store) judgeBy(ctx context.Context, l *letter, rec *wire.Record, ended *ended) error {
	if is, err := s.judgeEnded(ctx, l, ended); err != nil || is {
		return err
	}
	if rec.Void != nil && rec.Void.Letters.Covers(l.Sequence, l.Stored) {
		l.State, l.Ended, l.lasting = StateResolved, true, true
		return nil
	}
	if l.Malformed != "" {
		return s.judgeMalformed(ctx, l)
	}
	tag := versioning.Tag{Version: l.Version}
	if l.whole {
		tag = l.Update.Tag()
	}
	v, ok := weigh(rec, tag, l.Last)
	if !ok {
		whole, err := s.load(ctx, l.Sequence)
		if errors.Is(err, ErrNotFound) { // removed since it was listed
			l.State = StateResolved
			return nil
		}
		if err != nil {
			return err
		}
		*l = whole
		v, _ = weigh(rec, l.Update.Tag(), l.Last)
	}
	l.State, l.By, l.lasting = v.state, v.by, v.lasting
	if v.rival {
		return s.judgeByRivals(ctx, l, v.named)
	}
	return nil
}

// judgeByRivals decides between the letters of one update, of which only one
// counts: the one that was given up when the ledger says, else the last. There
// are several when a replay was given up, too; or when a worker was killed
// between storing a letter and committing the outcome, and the next one stored
// another after the broker had forgotten the first.
func (s *Store) judgeByRivals(ctx context.Context, l *letter, named time.Time) error {
	var counts uint64
	for other, err := range s.lettersOf(ctx, l.subject, 1) {
		if err != nil {
			return err
		}
		if other.Malformed != "" || other.Update.Tag() != l.Update.Tag() {
			continue
		}
		counts = other.Sequence
		if other.Last.Equal(named) {
			break
		}
	}
	switch {
	case l.Sequence > counts:
		l.State = StatePending // the ledger still means the other one
	case l.Sequence < counts:
		l.State = StateResolved
	default:
		l.State = StateOpen
	}
	return nil
}

// judgeMalformed decides about a letter that the ledger cannot name. A worker
// that was killed before it committed may have left a copy: as the updates of a
// key are handled one by one, that is the next letter of the key.
func (s *Store) judgeMalformed(ctx context.Context, l *letter) error {
	l.State = StateOpen
	for next, err := range s.lettersOf(ctx, l.subject, l.Sequence+1) {
		if err != nil {
			return err
		}
		if next.Malformed != "" && l.UpdateSequence != 0 && next.UpdateSequence == l.UpdateSequence {
			l.State = StateResolved
		}
		break
	}
	return nil
}

// lettersOf reads the letters on a subject, from a sequence on, with their
// payloads. There are few of one key as a rule.
func (s *Store) lettersOf(ctx context.Context, subject string, from uint64) iter.Seq2[letter, error] {
	return func(yield func(letter, error) bool) {
		for {
			msg, err := wire.ReadFromLeader(ctx, s.js, wire.DeadStream(s.names), wire.MessageQuery{NextOn: subject, Sequence: from})
			if errors.Is(err, jetstream.ErrMsgNotFound) {
				return
			}
			if err != nil {
				yield(letter{}, fmt.Errorf("read the letters of a key: %w", unavailable(err)))
				return
			}
			from = msg.Sequence + 1
			l := decode(s.names, msg)
			l.complete(msg.Data)
			if !yield(l, nil) {
				return
			}
		}
	}
}
