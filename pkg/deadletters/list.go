package deadletters

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/events"
)

// A Filter selects letters. The zero Filter selects every open letter.
type Filter struct {
	Channel string         // zero: all
	Key     string         // zero: all; needs Channel
	Outcome events.Outcome // DeadLettered or Conflict; zero: both
	Class   string         // of the error; zero: all
	Code    string         // of the error; zero: all
	After   time.Time      // stored then or later; zero: no limit
	Before  time.Time      // stored earlier than this; zero: no limit
	State   State          // zero: StateOpen
	// AnyState selects letters of all states. State must be zero then.
	AnyState bool
}

// check returns the subject that the filter's letters are on.
func (f *Filter) check(names events.Names) (subject string, err error) {
	var errs []error
	if f.Channel != "" {
		errs = append(errs, events.CheckChannel(f.Channel))
	}
	if f.Outcome != "" && !givenUp(f.Outcome) {
		errs = append(errs, fmt.Errorf("outcome %q is neither %q nor %q", f.Outcome, events.DeadLettered, events.Conflict))
	}
	if f.State != "" && f.State != StateOpen && f.State != StatePending && f.State != StateResolved {
		errs = append(errs, fmt.Errorf("state %q is neither %q nor %q nor %q", f.State, StateOpen, StatePending, StateResolved))
	}
	if f.State != "" && f.AnyState {
		errs = append(errs, errors.New("state and any state exclude each other"))
	}
	if !f.Before.IsZero() && !f.After.Before(f.Before) && !f.After.IsZero() {
		errs = append(errs, errors.New("after is not earlier than before"))
	}
	subject = wire.DeadOf(names, f.Channel)
	if f.Key != "" {
		enc, err := events.EncodeKey(f.Key)
		if f.Channel == "" {
			err = errors.Join(err, errors.New("a key needs its channel"))
		}
		errs = append(errs, err)
		subject = wire.DeadLetter(names, f.Channel, enc)
	}
	if err := errors.Join(errs...); err != nil {
		return "", fmt.Errorf("%w: %w", ErrFilter, err)
	}
	return subject, nil
}

// matches looks at all but the state.
func (f *Filter) matches(l *letter) bool {
	return (f.Outcome == "" || f.Outcome == l.Outcome) &&
		(f.Class == "" || f.Class == l.Class) &&
		(f.Code == "" || f.Code == l.Code) &&
		!l.Stored.Before(f.After) &&
		(f.Before.IsZero() || l.Stored.Before(f.Before))
}

func (f *Filter) matchesState(s State) bool {
	switch {
	case f.AnyState:
		return true
	case f.State == "":
		return s == StateOpen
	default:
		return s == f.State
	}
}

const (
	// DefaultPage and MaxPage bound a page of List.
	DefaultPage = 100
	MaxPage     = 1000
	// chunkLetters is how many letters are judged together, judgeAtOnce how many
	// reads for that are under way at once.
	chunkLetters = 128
	judgeAtOnce  = 16
)

// A Page is a part of a list.
type Page struct {
	Entries []Entry `json:"entries"`
	// Next is the cursor of the next page; 0 if this is the last one.
	Next uint64 `json:"next,omitempty"`
}

// List returns the letters that a filter selects, oldest first, at most limit (1
// to MaxPage; 0 counts as DefaultPage, more as MaxPage). cursor is 0, or Page.Next
// of the page before. A list is no snapshot: a letter may be there that was
// removed a moment ago. The errors: ErrFilter, or events.ErrUnavailable.
func (s *Store) List(ctx context.Context, f Filter, limit int, cursor uint64) (Page, error) {
	if limit <= 0 {
		limit = DefaultPage
	}
	limit = min(limit, MaxPage)
	page := Page{Entries: []Entry{}}
	for chunk, err := range s.scan(ctx, f, cursor) {
		if err != nil {
			return Page{}, err
		}
		for i := range chunk {
			if len(page.Entries) == limit {
				page.Next = chunk[i].Sequence
				return page, nil
			}
			page.Entries = append(page.Entries, chunk[i].entry())
		}
	}
	return page, nil
}

// Count returns how many letters a filter selects. It looks at each of them.
func (s *Store) Count(ctx context.Context, f Filter) (int, error) {
	count := 0
	for chunk, err := range s.scan(ctx, f, 0) {
		if err != nil {
			return 0, err
		}
		count += len(chunk)
	}
	return count, nil
}

// scan gives the letters that a filter selects in the order in which they were
// stored, a few at a time: those that there are when it begins, from a sequence on.
func (s *Store) scan(ctx context.Context, f Filter, from uint64) iter.Seq2[[]letter, error] {
	return func(yield func([]letter, error) bool) {
		subject, err := f.check(s.names)
		if err != nil {
			yield(nil, err)
			return
		}
		query := wire.StreamQuery{
			Stream: wire.DeadStream(s.names), Subject: subject, From: from, Since: f.After, HeadersOnly: true,
		}
		chunk := make([]letter, 0, chunkLetters)
		flush := func() bool {
			selected, err := s.judgeChunk(ctx, f, chunk)
			chunk = chunk[:0]
			if err != nil {
				yield(nil, err)
				return false
			}
			return len(selected) == 0 || yield(selected, nil)
		}
		for msg, err := range wire.ReadStream(ctx, s.js, query) {
			if err != nil {
				yield(nil, err)
				return
			}
			if !f.Before.IsZero() && !msg.Time.Before(f.Before) {
				break // all that follow were stored later
			}
			l := decode(s.names, msg)
			if !f.matches(&l) {
				continue
			}
			chunk = append(chunk, l)
			if len(chunk) == cap(chunk) && !flush() {
				return
			}
		}
		if len(chunk) > 0 {
			flush()
		}
	}
}

// judgeChunk finds out the states of letters, side by side, and returns those that
// the filter selects. The record of a key is read once.
func (s *Store) judgeChunk(ctx context.Context, f Filter, chunk []letter) ([]letter, error) {
	records := newRecords(s)
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(judgeAtOnce)
	for i := range chunk {
		l := &chunk[i]
		group.Go(func() error {
			known, err := records.get(ctx, l.Channel, l.EncodedKey)
			if err != nil {
				return err
			}
			return s.judgeBy(ctx, l, &known.rec, &known.ended)
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

// records reads what is known of keys, each once.
type records struct {
	s     *Store
	mu    sync.Mutex
	known map[string]*reading
}

// A reading is what is known of a key, once done is closed.
type reading struct {
	knownKey
	err  error
	done chan struct{}
}

// A knownKey is what is known of a key: its records in the ledger and in the bucket of
// ended letters.
type knownKey struct {
	rec   wire.Record
	ended ended
}

func newRecords(s *Store) *records {
	return &records{s: s, known: map[string]*reading{}}
}

// get returns what is known of a key. It is read by whoever asks first; all others wait.
func (r *records) get(ctx context.Context, channel, enc string) (*knownKey, error) {
	r.mu.Lock()
	id := channel + "/" + enc
	k, others := r.known[id]
	if !others {
		k = &reading{done: make(chan struct{})}
		r.known[id] = k
	}
	r.mu.Unlock()
	if !others {
		k.err = r.read(ctx, channel, enc, &k.knownKey)
		close(k.done)
	}
	select {
	case <-k.done:
		return &k.knownKey, k.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (r *records) read(ctx context.Context, channel, enc string, k *knownKey) (err error) {
	if k.ended, _, err = r.s.readEnded(ctx, channel, enc); err != nil {
		return err
	}
	if k.rec, _, err = r.s.ledger.GetEncoded(ctx, channel, enc); errors.Is(err, events.ErrNoRecord) {
		return nil
	}
	return err
}
