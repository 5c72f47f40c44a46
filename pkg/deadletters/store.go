// Package deadletters lists, shows, sends again and removes what the delivery has
// given up.
//
// A dead letter is stored before its outcome is committed, so a worker that is
// killed between the two leaves a letter of an update that is still on its way.
// And it is removed after a later outcome is committed, so a worker that is
// killed there leaves a letter that is settled. Neither does harm: a letter
// counts only while the ledger names it, and State says so of each.
package deadletters

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/events"
)

// Errors of this package. Callers match them with errors.Is.
var (
	// ErrNotFound says that there is no such letter: it was discarded, or its key
	// was delivered.
	ErrNotFound = errors.New("dead letter not found")
	// ErrMalformed says that a letter holds something that cannot be read as an
	// update, so it cannot be sent again.
	ErrMalformed = errors.New("malformed update")
	// ErrPending says that the ledger has no outcome for the letter: its update is
	// still on its way.
	ErrPending = errors.New("update is still on its way")
	// ErrResolved says that nothing is left to do about the letter.
	ErrResolved = errors.New("dead letter is resolved")
	// ErrFilter says that a filter makes no sense.
	ErrFilter = errors.New("invalid filter")
)

// Store is the dead letters of all channels. It is safe for concurrent use.
type Store struct {
	js     jetstream.JetStream
	names  events.Names
	ledger *wire.Ledger
	stream jetstream.Stream
	ended  jetstream.KeyValue
	// consumers: the stream is read through consumers, which only an administrator may make.
	consumers bool
}

// Open returns the dead letters of a provisioned broker, else
// events.ErrNotProvisioned.
func Open(ctx context.Context, js jetstream.JetStream, names events.Names) (*Store, error) {
	ledger, err := wire.OpenLedger(ctx, js, names)
	if err != nil {
		return nil, err
	}
	stream, err := js.Stream(ctx, wire.DeadStream(names))
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, fmt.Errorf("%w: stream %s is missing", events.ErrNotProvisioned, wire.DeadStream(names))
	}
	if err != nil {
		return nil, fmt.Errorf("open the dead letters: %w", unavailable(err))
	}
	kv, err := js.KeyValue(ctx, wire.LettersBucket(names))
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		return nil, fmt.Errorf("%w: bucket %s is missing; apply the channels again", events.ErrNotProvisioned, wire.LettersBucket(names))
	}
	if err != nil {
		return nil, fmt.Errorf("open the dead letters: %w", unavailable(err))
	}
	return &Store{js: js, names: names, ledger: ledger, stream: stream, ended: kv}, nil
}

// Faster returns the same dead letters, read through consumers of the stream, which takes a
// fraction of the time. Only who may make consumers can use it: an administrator.
func (s *Store) Faster() *Store {
	out := *s
	out.consumers = true
	return &out
}

// Get returns a letter with its update. sequence is Entry.Sequence. The errors:
// ErrNotFound, or events.ErrUnavailable.
func (s *Store) Get(ctx context.Context, sequence uint64) (Entry, error) {
	l, err := s.load(ctx, sequence)
	if err != nil {
		return Entry{}, err
	}
	if err := s.judge(ctx, &l); err != nil {
		return Entry{}, err
	}
	return l.Entry, nil
}

// load reads a letter with its payload.
func (s *Store) load(ctx context.Context, sequence uint64) (letter, error) {
	if sequence == 0 {
		return letter{}, fmt.Errorf("%w: 0", ErrNotFound)
	}
	msg, err := wire.ReadFromLeader(ctx, s.js, wire.DeadStream(s.names), wire.MessageQuery{Sequence: sequence})
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return letter{}, fmt.Errorf("%w: %d", ErrNotFound, sequence)
	case err != nil:
		return letter{}, fmt.Errorf("read dead letter %d: %w", sequence, unavailable(err))
	}
	l := decode(s.names, msg)
	l.complete(msg.Data)
	return l, nil
}

// Discard removes a letter: its update is given up for good. The ledger keeps the
// outcome. A pending letter is refused with ErrPending: its update would be given
// up without a letter if the worker stored the same one again.
func (s *Store) Discard(ctx context.Context, sequence uint64) error {
	l, err := s.load(ctx, sequence)
	if err != nil {
		return err
	}
	if err := s.judge(ctx, &l); err != nil {
		return err
	}
	if l.State == StatePending {
		return fmt.Errorf("dead letter %d: %w; it cannot be discarded", sequence, ErrPending)
	}
	return s.endAndRemove(ctx, &l)
}

// endAndRemove removes a letter that is no longer wanted. That it has ended is noted
// first, unless the ledger says so for good.
func (s *Store) endAndRemove(ctx context.Context, l *letter) error {
	if !l.lasting {
		if err := s.end(ctx, l); err != nil {
			return err
		}
	}
	return s.remove(ctx, l.Sequence)
}

// Counts reports whether a letter is there and has not ended.
func (s *Store) Counts(ctx context.Context, sequence uint64) (bool, error) {
	l, err := s.load(ctx, sequence)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	if err == nil {
		err = s.judge(ctx, &l)
	}
	return !l.Ended, err
}

// Tidy removes the resolved letters of a key, and returns how many are left. It
// is for the worker that owns the key, after it has committed an outcome: rec is
// the record with that outcome, which the bucket may not show yet. What a killed
// worker leaves is resolved all the same; see DiscardAll.
func (s *Store) Tidy(ctx context.Context, channel, encodedKey string, rec *wire.Record) (left int, err error) {
	var ended *ended
	for l, err := range s.lettersOf(ctx, wire.DeadLetter(s.names, channel, encodedKey), 1) {
		if err != nil {
			return left, err
		}
		if ended == nil { // most keys have no letters
			known, _, err := s.readEnded(ctx, channel, encodedKey)
			if err != nil {
				return left, err
			}
			ended = &known
		}
		if err := s.judgeBy(ctx, &l, rec, ended); err != nil {
			return left, err
		}
		if l.State != StateResolved || l.Malformed != "" && !l.Ended {
			left++
			continue
		}
		if err := s.endAndRemove(ctx, &l); err != nil {
			return left, err
		}
	}
	return left, nil
}

// remove deletes a letter. One that is gone already is no error: somebody else
// wanted the same.
func (s *Store) remove(ctx context.Context, sequence uint64) error {
	err := s.stream.DeleteMsg(ctx, sequence)
	if err == nil {
		return nil
	}
	if _, lerr := s.load(ctx, sequence); errors.Is(lerr, ErrNotFound) {
		return nil
	}
	return fmt.Errorf("remove dead letter %d: %w", sequence, unavailable(err))
}

func unavailable(err error) error {
	if wire.IsUnavailable(err) && !errors.Is(err, events.ErrUnavailable) {
		return fmt.Errorf("%w: %w", events.ErrUnavailable, err)
	}
	return err
}
