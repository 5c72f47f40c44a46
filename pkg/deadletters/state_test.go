package deadletters_test

import (
	"errors"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/deadletters"
	"github.com/hms-utl/extsync/pkg/events"
)

// letterOf returns the message that a worker would store.
func (l *lab) letterOf(u events.Update, last time.Time) *nats.Msg {
	l.t.Helper()
	msg, err := wire.Encode(l.names, u)
	testkit.Must(l.t, err)
	enc, err := events.EncodeKey(u.Key)
	testkit.Must(l.t, err)
	msg.Subject = wire.DeadLetter(l.names, u.Channel, enc)
	msg.Header.Del(nats.MsgIdHdr)
	msg.Header.Set(wire.HeaderDeadOutcome, string(events.DeadLettered))
	msg.Header.Set(wire.HeaderDeadLast, last.UTC().Format(time.RFC3339Nano))
	return msg
}

// copyOf returns the message of a letter that is stored.
func (l *lab) copyOf(e deadletters.Entry) *nats.Msg {
	l.t.Helper()
	raw, err := wire.ReadFromLeader(l.t.Context(), l.JS, wire.DeadStream(l.names), wire.MessageQuery{Sequence: e.Sequence})
	testkit.Must(l.t, err)
	msg := &nats.Msg{Subject: raw.Subject, Header: raw.Header, Data: raw.Data}
	msg.Header.Del(nats.MsgIdHdr)
	return msg
}

// store1 stores a letter as it is, and returns its sequence.
func (l *lab) store1(msg *nats.Msg) uint64 {
	l.t.Helper()
	ack, err := l.JS.PublishMsg(l.t.Context(), msg)
	testkit.Must(l.t, err)
	return ack.Sequence
}

func (l *lab) stateOf(sequence uint64) deadletters.State {
	l.t.Helper()
	e, err := l.store.Get(l.t.Context(), sequence)
	testkit.Must(l.t, err)
	page, err := l.store.List(l.t.Context(), deadletters.Filter{AnyState: true}, 1, sequence)
	testkit.Must(l.t, err)
	if len(page.Entries) != 1 || page.Entries[0].Sequence != sequence || page.Entries[0].State != e.State || page.Entries[0].By != e.By {
		l.t.Fatalf("get says %+v, list %+v", e, page)
	}
	return e.State
}

// A worker was killed after it had stored a letter, before it committed the
// outcome. The update is still on its way, and it may end otherwise.
func TestKilledBetweenLetterAndOutcome(t *testing.T) {
	for _, mode := range modes {
		t.Run(string(mode), func(t *testing.T) {
			l := newLab(t, mode)
			u := update("k", 7)
			l.push(u)
			sequence := l.store1(l.letterOf(u, time.Now()))
			if got := l.stateOf(sequence); got != deadletters.StatePending {
				t.Errorf("state %s", got)
			}
			if got := l.letters(deadletters.Filter{}); len(got) != 0 {
				t.Errorf("listed as open: %+v", got)
			}
			if _, err := l.store.Replay(t.Context(), sequence); !errors.Is(err, deadletters.ErrPending) {
				t.Errorf("replay: %v", err)
			}
			if err := l.store.Discard(t.Context(), sequence); !errors.Is(err, deadletters.ErrPending) {
				t.Errorf("discard: %v", err)
			}
			sum, err := l.store.DiscardAll(t.Context(), deadletters.Filter{AnyState: true}, nil)
			if err != nil || sum.Failed != 1 || !errors.Is(sum.Errors[0], deadletters.ErrPending) {
				t.Errorf("discard all: %+v, %v", sum, err)
			}
			l.work("w1") // the target takes it now
			l.delivered("k", "7")
			l.settles("k", 7, events.Delivered)
			l.gone(sequence)
		})
	}
}

// gone waits until a letter is resolved or removed.
func (l *lab) gone(sequence uint64) {
	l.t.Helper()
	l.eventually("the letter to be resolved", func() bool {
		e, err := l.store.Get(l.t.Context(), sequence)
		return errors.Is(err, deadletters.ErrNotFound) || err == nil && e.State == deadletters.StateResolved
	})
}

// letterID returns the id under which a worker stores the letter of an update.
func (l *lab) letterID(sequence uint64) string {
	l.t.Helper()
	name := wire.UpdateStream(l.names, events.ToChannel("cal"))
	stream, err := l.JS.Stream(l.t.Context(), name)
	testkit.Must(l.t, err)
	msg, err := stream.GetMsg(l.t.Context(), sequence)
	testkit.Must(l.t, err)
	return name + ":" + strconv.FormatUint(sequence, 10) + ":" + strconv.FormatInt(msg.Time.UnixNano(), 36)
}

// The same, but the next worker gives the update up, too. The broker knows the
// letter's id for a while, then the letter is stored twice.
func TestKilledBetweenLetterAndOutcomeAndGivenUpAgain(t *testing.T) {
	for name, forgotten := range map[string]bool{"the broker knows the letter": false, "the broker has forgotten the letter": true} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, channels.Latest)
			l.tg.refuses(connectors.Permanent, "422")
			u := update("k", 7)
			receipt := l.push(u)
			msg := l.letterOf(u, time.Now().Add(-time.Minute))
			if !forgotten {
				msg.Header.Set(nats.MsgIdHdr, l.letterID(receipt.Sequence))
			}
			first := l.store1(msg)
			l.work("w1")
			l.settles("k", 7, events.DeadLettered)
			e := l.letter("k") // one
			if got := e.Sequence != first; got != forgotten {
				t.Errorf("letter %d counts, the first was %d", e.Sequence, first)
			}
			l.tg.takes()
			l.replay(e)
			l.delivered("k", "7")
			l.noLetter("k")
			l.gone(first)
		})
	}
}

// A worker was killed after it had committed an outcome, before it removed the
// letters that the outcome resolves.
func TestKilledBetweenOutcomeAndRemoval(t *testing.T) {
	l := newLab(t, channels.Latest)
	l.work("w1")
	e := l.giveUp("k", 7)
	msg := l.copyOf(e)
	open := l.giveUp("open", 7)
	l.replay(e)
	l.settles("k", 7, events.Delivered)
	l.noLetter("k")
	left := l.store1(msg)
	if got := l.stateOf(left); got != deadletters.StateResolved {
		t.Errorf("state %s", got)
	}
	if _, err := l.store.Replay(t.Context(), left); !errors.Is(err, deadletters.ErrResolved) {
		t.Errorf("replay: %v", err)
	}
	sum, err := l.store.DiscardAll(t.Context(), deadletters.Filter{State: deadletters.StateResolved}, nil)
	if err != nil || sum.Discarded < 1 || sum.Done != sum.Discarded {
		t.Errorf("discard all: %+v, %v", sum, err)
	}
	if got := l.letters(deadletters.Filter{AnyState: true}); len(got) != 1 || got[0].Sequence != open.Sequence {
		t.Errorf("letters %+v", got)
	}
}
