package deadletters

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

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
	Prefix  string         // the key begins with it; zero: all
	Group   string         // Group.ID; zero: all
	After   time.Time      // stored then or later; zero: no limit
	Before  time.Time      // stored earlier than this; zero: no limit
	State   State          // zero: StateOpen
	// AnyState selects letters of all states. State must be zero then.
	AnyState bool
	// Upto is the last letter to select; zero: no limit.
	Upto wire.Mark
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
	if f.Key != "" && f.Prefix != "" {
		errs = append(errs, errors.New("key and prefix exclude each other"))
	}
	if len(f.Prefix) > events.MaxKeyLen {
		errs = append(errs, errors.New("the prefix is longer than a key can be"))
	}
	if f.Group != "" && !isGroup(f.Group) {
		errs = append(errs, fmt.Errorf("group %.40q is not the name of one: it has %d hexadecimal digits", f.Group, groupDigits))
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
		strings.HasPrefix(l.Key, f.Prefix) &&
		!l.Stored.Before(f.After) &&
		(f.Before.IsZero() || l.Stored.Before(f.Before)) &&
		(f.Upto.IsZero() || f.Upto.Covers(l.Sequence, l.Stored)) &&
		(f.Group == "" || f.Group == l.group())
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
	// portionLooks is after how many letters a scan says how far it is, if it selects few.
	portionLooks = 1024
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
		for p, err := range s.portions(ctx, f, from) {
			if (err != nil || len(p.letters) > 0) && !yield(p.letters, err) {
				return
			}
		}
	}
}

// A portion is a part of the stream that was looked at.
type portion struct {
	letters []letter // that the filter selects
	looked  int      // how many letters there are in the part
	last    uint64   // the sequence of the last of them
}

// portions is scan, which says what it has looked at, also where it selects nothing.
func (s *Store) portions(ctx context.Context, f Filter, from uint64) iter.Seq2[portion, error] {
	return func(yield func(portion, error) bool) {
		subject, err := f.check(s.names)
		if err != nil {
			yield(portion{}, err)
			return
		}
		query := wire.StreamQuery{
			Stream: wire.DeadStream(s.names), Subject: subject, From: from, Since: f.After, Until: f.Upto.Sequence, HeadersOnly: true,
			Consumer: s.consumers,
		}
		size := chunkLetters
		if s.consumers {
			size *= 4
		}
		p := portion{letters: make([]letter, 0, size)}
		known := knowledge{s: s}
		flush := func() bool {
			selected, err := known.judge(ctx, f, p.letters)
			out := portion{selected, p.looked, p.last}
			p = portion{letters: p.letters[:0]}
			return yield(out, err) && err == nil
		}
		for msg, err := range wire.ReadStream(ctx, s.js, query) {
			if err != nil {
				yield(portion{}, err)
				return
			}
			if !f.Before.IsZero() && !msg.Time.Before(f.Before) {
				break // all that follow were stored later
			}
			l := decode(s.names, msg)
			p.looked, p.last = p.looked+1, l.Sequence
			if f.matches(&l) {
				p.letters = append(p.letters, l)
			}
			if (len(p.letters) == cap(p.letters) || p.looked == portionLooks) && !flush() {
				return
			}
		}
		if p.looked > 0 {
			flush()
		}
	}
}
