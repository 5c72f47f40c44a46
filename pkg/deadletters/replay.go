package deadletters

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hms-utl/extsync/internal/sleep"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

var (
	// ErrBusy says that another update of the key is on its way, whose outcome comes first.
	ErrBusy = errors.New("another update of the key is on its way")
	// ErrStillFails says that the update was given up again.
	ErrStillFails = errors.New("it fails again")
)

// A Result says what came of a letter's update that was sent again.
type Result struct {
	// Outcome is Delivered or Superseded; "" while it is UnderWay.
	Outcome events.Outcome `json:"outcome,omitempty"`
	// SupersededBy is the newer version because of which nothing was sent; zero if the
	// outcome is not Superseded.
	SupersededBy versioning.Version `json:"superseded_by,omitzero"`
	// UnderWay: a call is on its way. The letter tells what became of it.
	UnderWay bool   `json:"under_way,omitempty"`
	Worker   string `json:"worker,omitempty"` // that tried it; "" if that was not needed
}

// String says it for people.
func (r Result) String() string {
	switch {
	case r.UnderWay:
		return "the call is on its way from worker " + r.Worker + "; look at the letter again in a while"
	case r.Outcome == events.Superseded:
		return "superseded by version " + r.SupersededBy.String()
	default:
		return string(r.Outcome)
	}
}

// A Replayer has the workers send the updates of dead letters again. It is safe for
// concurrent use.
type Replayer struct {
	*Store
	owners *channels.Registry
}

// Replayer returns one that asks the owners of the registry's channels.
func (s *Store) Replayer(owners *channels.Registry) *Replayer { return &Replayer{s, owners} }

const (
	// busyTries is how often a worker is asked that has something else of the key in hand,
	// and how often the ledger whose record is behind.
	busyTries = 5
	busyWait  = 200 * time.Millisecond
)

// Replay has the worker that owns a letter's key send its update again: now, and a few
// times within ten seconds if the target cannot take it. It never moves the target back (guarantee 2), and in
// a latest channel brings nothing that a newer version has replaced.
//
// Only a delivery changes what is known of the update, or that a newer version is there:
// the letter is then resolved by the same record of the ledger that says so. In any other
// case it stays as it is, also if the worker dies. So replaying twice is safe.
//
// The errors: ErrNotFound, ErrMalformed, ErrPending, ErrResolved (but not for a letter that
// a newer version has resolved: that is a Result), ErrBusy, ErrStillFails,
// channels.ErrNoOwner, channels.ErrReplay, channels.ErrNotFound, channels.ErrDeleted; or events.ErrUnavailable,
// after which the update may have been sent.
func (r *Replayer) Replay(ctx context.Context, sequence uint64) (Result, error) {
	l, err := r.load(ctx, sequence)
	if err != nil {
		return Result{}, err
	}
	if l.Malformed != "" {
		return Result{}, fmt.Errorf("dead letter %d: %w: it cannot be sent again; let the platform publish the entity anew, then discard the letter (%s)",
			sequence, ErrMalformed, l.Malformed)
	}
	// The ledger follows acks by half a second: whoever was just told of the outcome waits.
	for try := 1; ; try++ {
		if err := r.judge(ctx, &l); err != nil {
			return Result{}, err
		}
		if l.State != StatePending || try == busyTries || !sleep.For(ctx, busyWait) {
			break
		}
	}
	switch {
	case l.State == StatePending:
		return Result{}, fmt.Errorf("dead letter %d: %w; try again in a moment", sequence, ErrPending)
	case l.Ended:
		return Result{}, fmt.Errorf("dead letter %d: %w: it was discarded, or its key was reset or its channel removed since", sequence, ErrResolved)
	case l.State == StateResolved && older(l.Version, l.By):
		return Result{Outcome: events.Superseded, SupersededBy: l.By}, nil
	case l.State == StateResolved && l.By == l.Version:
		return Result{}, fmt.Errorf("dead letter %d: %w: version %s was settled since", sequence, ErrResolved, l.Version)
	case l.State == StateResolved:
		return Result{}, fmt.Errorf("dead letter %d: %w: a later letter holds the same update", sequence, ErrResolved)
	}
	res, err := r.ask(ctx, &l)
	if err != nil {
		return Result{}, fmt.Errorf("replay dead letter %d: %w", sequence, unavailable(err))
	}
	return res, nil
}

// ask asks the owner, more than once while it is about something else of the key, or the
// partition changes its owner.
func (r *Replayer) ask(ctx context.Context, l *letter) (Result, error) {
	for try := 1; ; try++ {
		said, err := r.owners.Replay(ctx, l.Channel, l.EncodedKey, l.Sequence)
		switch {
		case err != nil:
			return Result{}, err
		case said.Outcome != "" || said.UnderWay:
			return Result{Outcome: said.Outcome, SupersededBy: said.By, UnderWay: said.UnderWay, Worker: said.Worker}, nil
		case said.Gone:
			return Result{}, fmt.Errorf("%w meanwhile: it was settled or discarded", ErrResolved)
		case said.Failure != nil:
			return Result{}, fmt.Errorf("%w: %s", ErrStillFails, textOf(said.Failure))
		case try == busyTries && said.Yields:
			return Result{}, fmt.Errorf("%w; its outcome comes first: 'extsync get' shows it", ErrBusy)
		case try == busyTries:
			return Result{}, fmt.Errorf("%w: worker %s gave the partition up", events.ErrUnavailable, said.Worker)
		}
		if !sleep.For(ctx, busyWait) {
			return Result{}, ctx.Err()
		}
	}
}

func textOf(f *events.Failure) string {
	text := f.Class
	for _, more := range []string{f.Code, f.Message} {
		if more != "" {
			text += ": " + more
		}
	}
	if f.Response != "" {
		text += "; the target answered: " + f.Response
	}
	return text
}
