package deadletters_test

import (
	"errors"
	"testing"
	"time"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/deadletters"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/publish"
)

// A broker that was killed forgets deletions of whole heads of blocks: letters that were
// removed are there again (docs/adr/0032). The tests put the stream's files back.

// reopen makes the lab's clients anew after a restart of the broker.
func (l *lab) reopen() {
	l.t.Helper()
	var err error
	l.reg, err = channels.OpenRegistry(l.t.Context(), l.JS, l.names, l.catalog)
	testkit.Must(l.t, err)
	l.pub, err = publish.New(l.t.Context(), l.JS, l.names)
	testkit.Must(l.t, err)
	l.ledger, err = wire.OpenLedger(l.t.Context(), l.JS, l.names)
	testkit.Must(l.t, err)
	store, err := deadletters.Open(l.t.Context(), l.JS, l.names)
	testkit.Must(l.t, err)
	l.store = store.Replayer(l.reg)
}

func (l *lab) keepLetters() (putBack func()) {
	l.t.Helper()
	back := l.KeepFiles(l.t, wire.DeadStream(l.names))
	l.reopen()
	return func() {
		l.t.Helper()
		back()
		l.reopen()
	}
}

// isBack checks that a letter is there again and counts as ended, and removes it.
func (l *lab) isBack(e deadletters.Entry) {
	l.t.Helper()
	got, err := l.store.Get(l.t.Context(), e.Sequence)
	testkit.Must(l.t, err)
	if got.State != deadletters.StateResolved || !got.Ended {
		l.t.Errorf("the letter that came back is %s, ended %t", got.State, got.Ended)
	}
	if _, err := l.store.Replay(l.t.Context(), e.Sequence); !errors.Is(err, deadletters.ErrResolved) {
		l.t.Errorf("replay of the letter that came back: %v", err)
	}
	if open := l.letters(deadletters.Filter{Channel: "cal", Key: e.Key}); len(open) != 0 {
		l.t.Errorf("open: %+v", open)
	}
	testkit.Must(l.t, l.store.Discard(l.t.Context(), e.Sequence))
}

func TestDiscardedLetterThatComesBackIsNotOpen(t *testing.T) {
	l := newLab(t, channels.Latest)
	stop := l.work("w1")
	older, newer := l.giveUp("k", 6), deadletters.Entry{}
	l.tg.refuses(connectors.Permanent, "422")
	l.push(update("k", 7))
	l.settles("k", 7, events.DeadLettered)
	for _, e := range l.letters(deadletters.Filter{Channel: "cal", Key: "k"}) {
		newer = e
	}
	stop()
	putBack := l.keepLetters()
	testkit.Must(t, l.store.Discard(t.Context(), newer.Sequence))
	putBack()
	if e := l.letter("k"); e.Sequence != older.Sequence { // the older one is open as before
		t.Fatalf("open: %+v", e)
	}
	testkit.Must(t, l.store.Discard(t.Context(), older.Sequence))
	putBack()
	l.isBack(older)
	l.isBack(newer)
	// What is given up later is a letter like any other.
	l.work("w2")
	again := l.giveUp("k", 8)
	l.tg.takes()
	l.replay(again)
	l.delivered("k", "8")
}

func TestLettersOfAResetKeyThatComeBackAreVoid(t *testing.T) {
	l := newLab(t, channels.Latest)
	stop := l.work("w1")
	e := l.giveUp("k", 9)
	stop()
	putBack := l.keepLetters()
	stop = l.work("w2")
	l.eventually("the partition to have an owner", func() bool {
		return l.reg.ResetKey(t.Context(), "cal", "k") == nil
	})
	stop()
	putBack()
	l.isBack(e)
	l.work("w3")
	// The same version, content and outcome as before: only its place tells them apart.
	if again := l.giveUp("k", 9); again.Sequence <= e.Sequence {
		t.Errorf("letter %+v", again)
	}
}

// The ledger lists the last eight outcomes of a key. A letter that a replay has settled
// stays settled when it has forgotten that.
func TestLetterThatComesBackAfterItsOutcomeIsForgotten(t *testing.T) {
	l := newLab(t, channels.Latest)
	stop := l.work("w1")
	e := l.giveUp("k", 1)
	stop()
	putBack := l.keepLetters()
	stop = l.work("w2")
	l.replay(e)
	l.settles("k", 1, events.Delivered)
	l.tg.refuses(connectors.Permanent, "422")
	for v := int64(2); v < 12; v++ {
		l.push(update("k", v))
		l.settles("k", v, events.DeadLettered)
	}
	stop()
	putBack()
	if got, err := l.store.Get(t.Context(), e.Sequence); err != nil || got.State != deadletters.StateResolved {
		t.Errorf("the letter is %s, %v", got.State, err)
	}
}

// A worker was killed after it had stored a letter, before it had committed the outcome;
// or a cluster stored the letter and its answer was lost. The update is delivered after
// all, and the letter must not stay.
func TestLetterOfAnUpdateThatIsDeliveredAfterAllIsRemoved(t *testing.T) {
	for _, mode := range modes {
		t.Run(string(mode), func(t *testing.T) {
			l := newLab(t, mode)
			u := update("k", 1)
			l.push(u)
			l.store1(l.letterOf(u, time.Now()))
			kept := l.store1(l.letterOf(update("kept", 1), time.Now()))
			l.work("w1")
			l.delivered("k", "1")
			l.eventually("the letter to be removed", func() bool {
				left := l.letters(deadletters.Filter{AnyState: true})
				return len(left) == 1 && left[0].Sequence == kept
			})
		})
	}
}

// A worker was killed after it had committed the outcome that settled a letter, before
// it had removed the letter.
func TestLetterThatAKilledWorkerLeftIsRemovedByTheNext(t *testing.T) {
	l := newLab(t, channels.Latest)
	stop := l.work("w1")
	l.push(update("k", 2))
	l.settles("k", 2, events.Delivered)
	stop()
	l.store1(l.letterOf(update("k", 1), time.Now()))
	l.work("w2")
	l.eventually("the letter to be removed", func() bool {
		return len(l.letters(deadletters.Filter{AnyState: true})) == 0
	})
}
