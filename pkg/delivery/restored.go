package delivery

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/pkg/events"
)

// A broker whose files were restored goes on from an older state: it gives sequences
// again, for other messages. 'extsync recover' makes a new incarnation, in which no
// floor and no place in the log counts that was written before. What follows notices
// a restored broker where nobody has run it: a floor that cannot be of the stream is
// not believed, the version guard makes starting at 0 harmless, and people are told.

// errRestored: the broker holds less than this worker has seen there.
var errRestored = errors.New("the broker's files are older than they were")

// restoredAdvice is said with every alarm.
const restoredAdvice = "the broker's files were restored without a new incarnation: stop workers and publishers and run 'extsync recover'"

// clockSlack is by how much a message may be newer than the floor's newest without a
// closer look.
const clockSlack = 250 * time.Millisecond

// alarm says that the broker was restored: in the log, in the worker's status, and
// by the progress of what this worker writes from now on in that of everybody.
func (b *broker) alarm(at time.Time) {
	if b.restored.CompareAndSwap(0, at.Unix()) {
		b.stats.tell(func(s *Status) { s.Restored = b.restoredAt() })
	}
}

// restoredAt returns when the broker was found to be restored; zero if it was not.
func (b *broker) restoredAt() time.Time {
	if at := b.restored.Load(); at != 0 {
		return time.Unix(at, 0).UTC()
	}
	return time.Time{}
}

// distrust makes the tenure begin at 0 and tells why.
func (t *tenure) distrust(floor uint64, why string) {
	t.p.restored = true
	t.b.alarm(time.Now())
	t.log.Error().Uint64("floor", floor).Str("found", why).Msg(restoredAdvice + "; the partition begins at 0, which the version guard makes harmless")
}

// contradiction returns what shows that a floor is not of the stream as it is now:
// all up to it was stored by a time, and last came at most. "" if nothing does.
func (t *tenure) contradiction(ctx context.Context, info *jetstream.StreamInfo, floor uint64, storedAt int64, last uint64) (string, error) {
	if last > info.State.LastSeq {
		return fmt.Sprintf("the stream ends at %d, but %d was seen", info.State.LastSeq, last), nil
	}
	if floor == 0 || storedAt == 0 {
		return "", nil
	}
	newer := func(subject string) (*jetstream.RawStreamMsg, error) {
		msg, err := t.newestUpTo(ctx, subject, floor)
		if err != nil || msg == nil || msg.Time.UnixNano() <= storedAt+int64(clockSlack) {
			return nil, err
		}
		return msg, nil
	}
	msg, err := newer(t.b.names.StoredUpdates(t.p.r.entry.Config.Name))
	if err != nil || msg == nil {
		return "", err
	}
	// That may be of another partition, stored by a server whose clock is ahead, or before
	// the clock was set back. Of this one all up to the floor was settled by its time.
	msg = nil
	for _, subject := range t.subjects() {
		if msg, err = newer(subject); err != nil || msg != nil {
			break
		}
	}
	if err != nil || msg == nil {
		return "", err
	}
	return fmt.Sprintf("sequence %d was given again, %s after all up to %d was settled", msg.Sequence,
		msg.Time.Sub(time.Unix(0, storedAt)).Round(time.Millisecond), floor), nil
}

// checkStream returns errRestored if the stream is older than when the sequence last
// came, or than when all up to floor was settled.
func (t *tenure) checkStream(ctx context.Context, floor uint64, storedAt int64, last uint64) error {
	stream, err := t.b.js.Stream(ctx, t.stream)
	if err != nil {
		return fmt.Errorf("stream of the channel: %w", err)
	}
	if t.created != stream.CachedInfo().Created.UnixNano() {
		return errStreamReplaced
	}
	why, err := t.contradiction(ctx, stream.CachedInfo(), floor, storedAt, last)
	if err == nil && why != "" {
		t.b.alarm(time.Now())
		t.log.Error().Str("found", why).Msg(restoredAdvice)
		err = fmt.Errorf("%w: %s", errRestored, why)
	}
	return err
}

// newestUpTo returns the last message on some of the channel's subjects up to a
// sequence; nil if there is none. The broker can be asked for the next one only: from where there
// is one, found backwards in growing steps, halving finds the last.
func (t *tenure) newestUpTo(ctx context.Context, subject string, most uint64) (*jetstream.RawStreamMsg, error) {
	var found *jetstream.RawStreamMsg
	from, until := most, most // the sequences in which the last may be, when found is not it
	for step := uint64(1); found == nil; step *= 2 {
		msg, err := t.nextUpTo(ctx, subject, from, most)
		if err != nil {
			return nil, err
		}
		if found = msg; found != nil || from == 1 {
			break
		}
		until = from - 1
		from -= min(step, from-1)
	}
	if found == nil {
		return nil, nil //nolint:nilnil // there is none
	}
	for low := found.Sequence + 1; low <= until; {
		middle := low + (until-low)/2
		msg, err := t.nextUpTo(ctx, subject, middle, most)
		if err != nil {
			return nil, err
		}
		if msg == nil {
			until = middle - 1
			continue
		}
		found, low = msg, msg.Sequence+1
	}
	return found, nil
}

// nextUpTo returns the first message in from..most; nil if there is none.
func (t *tenure) nextUpTo(ctx context.Context, subject string, from, most uint64) (*jetstream.RawStreamMsg, error) {
	query := events.MessageQuery{NextOn: subject, Sequence: from}
	msg, err := events.ReadFromLeader(ctx, t.b.js, t.stream, query)
	if errors.Is(err, jetstream.ErrMsgNotFound) || err == nil && msg.Sequence > most {
		return nil, nil //nolint:nilnil // there is none
	}
	if err != nil {
		return nil, fmt.Errorf("look at what is below the floor: %w", err)
	}
	return msg, nil
}

// checkLog compares the end of the outcome log with the highest sequence that this
// worker has been given there.
func (m *manager) checkLog(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, m.b.leaseTTL/4)
	defer cancel()
	seen := m.b.logSeen.Last()
	info, err := m.b.outcomes.Info(ctx)
	if err != nil {
		m.log.Warn().Err(err).Msg("look at the end of the outcome log")
		return
	}
	if last := info.State.LastSeq; last < seen {
		m.b.alarm(time.Now())
		m.log.Error().Uint64("last", last).Uint64("seen", seen).Msg(restoredAdvice)
	}
}

// checkIncarnation returns events.ErrIncarnation if the installation has another one
// than when this worker started.
func (m *manager) checkIncarnation(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, m.b.leaseTTL/4)
	defer cancel()
	return events.CheckIncarnation(ctx, m.b.js, m.b.names, m.b.incarnation)
}
