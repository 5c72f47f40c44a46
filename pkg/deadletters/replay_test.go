package deadletters_test

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/deadletters"
	"github.com/hms-utl/extsync/pkg/events"
)

var modes = []channels.Mode{channels.Latest, channels.Every} //nolint:gochecknoglobals // a constant that the language cannot express as one

// replay sends a letter again, which must be delivered.
func (l *lab) replay(e deadletters.Entry) {
	l.t.Helper()
	var res deadletters.Result
	var err error
	l.eventually("the partition to have an owner", func() bool {
		res, err = l.store.Replay(l.t.Context(), e.Sequence)
		return !errors.Is(err, channels.ErrNoOwner)
	})
	testkit.Must(l.t, err)
	if res.Outcome != events.Delivered || res.Worker == "" || res.String() != "delivered" {
		l.t.Fatalf("replay of %+v: %+v", e, res)
	}
}

// superseded sends a letter again, which a newer version must end.
func (l *lab) superseded(e deadletters.Entry, by int64) {
	l.t.Helper()
	res, err := l.store.Replay(l.t.Context(), e.Sequence)
	testkit.Must(l.t, err)
	if res.Outcome != events.Superseded || res.SupersededBy != testkit.Number(by) || res.String() != "superseded by version "+testkit.Number(by).String() {
		l.t.Fatalf("replay of %+v: %+v", e, res)
	}
}

// refused sends a letter again, which must fail for a reason, and stay.
func (l *lab) refused(e deadletters.Entry, why error, text string) {
	l.t.Helper()
	_, err := l.store.Replay(l.t.Context(), e.Sequence)
	if !errors.Is(err, why) || !strings.Contains(err.Error(), text) {
		l.t.Fatalf("replay: %v; want %v, with %q", err, why, text)
	}
	got, err := l.store.Get(l.t.Context(), e.Sequence)
	testkit.Must(l.t, err)
	if got.State != deadletters.StateOpen || got.Code != e.Code || !got.Last.Equal(e.Last) {
		l.t.Errorf("the letter is %+v, it was %+v", got, e)
	}
}

func TestReplayAfterTheTargetWasMended(t *testing.T) {
	for _, mode := range modes {
		t.Run(string(mode), func(t *testing.T) {
			l := newLab(t, mode)
			l.work("w1")
			e := l.giveUp("replay", 7)
			l.replay(e)
			l.delivered("replay", "7")
			l.settles("replay", 7, events.Delivered)
			l.noLetter("replay")

			// The story can be read from the log.
			line, err := wire.History(t.Context(), l.JS, l.names, "cal", "replay", 0)
			testkit.Must(t, err)
			if len(line.Entries) != 2 || line.Entries[0].Outcome != events.Delivered || line.Entries[1].Outcome != events.DeadLettered ||
				line.Entries[1].Code != "422" || line.Entries[1].Worker != "w1" || !line.Complete {
				t.Errorf("history %+v", line)
			}
			// And the platform goes on where it was.
			l.push(update("replay", 8))
			l.delivered("replay", "7", "8")
		})
	}
}

// Whoever sends a letter again twice at once sends it once, or twice: it is delivered.
func TestReplayTwiceAtOnce(t *testing.T) {
	for _, mode := range modes {
		t.Run(string(mode), func(t *testing.T) {
			l := newLab(t, mode)
			l.work("w1")
			e := l.giveUp("k", 7)
			var both sync.WaitGroup
			for range 2 {
				both.Go(func() {
					_, err := l.store.Replay(t.Context(), e.Sequence)
					if err != nil && !errors.Is(err, deadletters.ErrResolved) && !errors.Is(err, deadletters.ErrNotFound) && !errors.Is(err, channels.ErrReplay) {
						t.Errorf("replay: %v", err)
					}
				})
			}
			both.Wait()
			if got := l.tg.versions("k"); len(got) == 0 || len(got) > 2 {
				t.Errorf("the target got %v", got)
			}
			l.noLetter("k")
		})
	}
}

// A replay that fails again changes nothing: the letter stays, and the operator hears why.
func TestReplayThatFailsAgain(t *testing.T) {
	for _, mode := range modes {
		t.Run(string(mode), func(t *testing.T) {
			l := newLab(t, mode)
			l.work("w1")
			l.tg.takes()
			l.push(update(others, 1))
			l.delivered(others, "1") // so the one that fails is not all there is
			e := l.giveUp("k", 7)
			before, err := l.ledger.Get(t.Context(), "cal", "k")
			testkit.Must(t, err)
			for _, class := range []connectors.Class{connectors.Permanent, connectors.Conflict, connectors.Transient} {
				l.tg.refuses(class, "423")
				l.refused(e, deadletters.ErrStillFails, class.String()+": 423: no thanks")
			}
			after, err := l.ledger.Get(t.Context(), "cal", "k")
			testkit.Must(t, err)
			if !reflect.DeepEqual(before, after) {
				t.Errorf("the record was %+v, and is %+v", before, after)
			}
			l.tg.takes()
			l.replay(e)
			l.delivered("k", "7")
			l.noLetter("k")
		})
	}
}

// Twenty refusals in a row block a channel. Those of replays say nothing of the target: the
// updates were refused before.
func TestRefusedReplaysDoNotBlockTheChannel(t *testing.T) {
	l := newLab(t, channels.Latest)
	l.work("w1")
	l.tg.answers(func(a connectors.Attempt) connectors.Result {
		if strings.HasPrefix(a.Key, "bad") {
			return connectors.Failed(connectors.Permanent, "422", errors.New("no thanks"))
		}
		return connectors.Done()
	})
	const many = 30
	for n := range many {
		l.push(update(fmt.Sprint("bad", n), 1))
		l.push(update(fmt.Sprint("good", n), 1))
	}
	l.eventually("the letters", func() bool { return len(l.letters(deadletters.Filter{})) == many })
	sum, err := l.store.ReplayAll(t.Context(), deadletters.Filter{}, nil)
	if err != nil || sum.Failed != many || !errors.Is(sum.Errors[0], deadletters.ErrStillFails) {
		t.Errorf("%+v, %v", sum, err)
	}
	probed, err := l.reg.Probe(t.Context(), "cal")
	if err != nil || len(probed) != 1 || probed[0].Circuit != "closed" {
		t.Errorf("%+v, %v; want a closed circuit", probed, err)
	}
}

// Who was told that an update was given up was told of its letter that it is still on its
// way: the ledger is written behind.
func TestReplayRightAfterItsOutcome(t *testing.T) {
	l := newLab(t, channels.Every)
	l.work("w1")
	l.tg.refuses(connectors.Permanent, "422")
	_, ack, err := l.pub.Request(t.Context(), update("k", 7))
	if err != nil || ack.Outcome != events.DeadLettered {
		t.Fatalf("%+v, %v", ack, err)
	}
	l.tg.takes()
	res, err := l.store.Replay(t.Context(), 1)
	if err != nil || res.Outcome != events.Delivered {
		t.Errorf("%+v, %v", res, err)
	}
}

func TestReplayNeedsAWorker(t *testing.T) {
	l := newLab(t, channels.Latest)
	stop := l.work("w1")
	e := l.giveUp("k", 7)
	stop()
	l.refused(e, channels.ErrNoOwner, "no worker")
	l.work("w2")
	l.eventually("the partition to have an owner", func() bool {
		_, err := l.store.Replay(t.Context(), e.Sequence)
		return err == nil
	})
	l.delivered("k", "7")
}

func TestReplayNeverMovesTheTargetBack(t *testing.T) {
	t.Run("a newer version was delivered", func(t *testing.T) {
		for _, mode := range modes {
			t.Run(string(mode), func(t *testing.T) {
				l := newLab(t, mode)
				l.work("w1")
				e := l.giveUp("k", 7)
				letter := l.copyOf(e)
				l.push(update("k", 8))
				l.settles("k", 8, events.Delivered)
				l.noLetter("k")
				// A worker that is killed before it has removed the letter leaves it.
				e.Sequence = l.store1(letter)
				l.superseded(e, 8)
				l.delivered("k", "8")
			})
		}
	})
	t.Run("a newer version is being tried", func(t *testing.T) {
		for _, mode := range modes {
			t.Run(string(mode), func(t *testing.T) {
				l := newLab(t, mode)
				l.work("w1")
				e := l.giveUp("k", 7)
				called, goOn := make(chan struct{}), make(chan struct{})
				l.tg.answers(func(connectors.Attempt) connectors.Result {
					called <- struct{}{}
					<-goOn
					return connectors.Done()
				})
				l.push(update("k", 8))
				<-called
				l.refused(e, deadletters.ErrBusy, "its outcome comes first")
				close(goOn)
				l.settles("k", 8, events.Delivered)
				l.noLetter("k")
			})
		}
	})
	t.Run("the newest version is a dead letter, too", func(t *testing.T) {
		l := newLab(t, channels.Latest)
		l.work("w1")
		older := l.giveUp("k", 7)
		l.tg.refuses(connectors.Permanent, "422")
		l.push(update("k", 8))
		l.settles("k", 8, events.DeadLettered)
		l.tg.takes()
		l.superseded(older, 8)
		l.replay(l.letter("k"))
		l.delivered("k", "8")
		l.noLetter("k") // neither of them
	})
}

// In an every channel each version counts: replays keep their order.
func TestReplayAllKeepsTheOrderOfAKey(t *testing.T) {
	l := newLab(t, channels.Every)
	l.work("w1")
	l.tg.refuses(connectors.Permanent, "422")
	const versions = 12 // more than the ledger remembers
	var want []string
	for v := int64(1); v <= versions; v++ {
		l.push(update("k", v))
		want = append(want, testkit.Number(v).String())
	}
	l.settles("k", versions, events.DeadLettered)
	l.eventually("all letters", func() bool { return len(l.letters(deadletters.Filter{})) == versions })
	l.tg.takes()
	sum, err := l.store.ReplayAll(t.Context(), deadletters.Filter{}, nil)
	if err != nil || sum.Delivered != versions || sum.Done != versions {
		t.Fatalf("not all versions are replayed: %+v, %v", sum, err)
	}
	l.delivered("k", want...)
	l.noLetter("k")
}

func TestConflictLetters(t *testing.T) {
	t.Run("the target holds something else", func(t *testing.T) {
		l := newLab(t, channels.Latest)
		l.work("w1")
		l.tg.refuses(connectors.Conflict, "409")
		l.push(update("k", 1))
		l.settles("k", 1, events.Conflict)
		e := l.letter("k")
		if e.Outcome != events.Conflict || e.Class != "conflict" || e.Code != "409" {
			t.Errorf("entry %+v", e)
		}
		l.tg.takes()
		l.replay(e)
		l.delivered("k", "1")
		l.noLetter("k")
	})
	t.Run("other content of a delivered version", func(t *testing.T) {
		l := newLab(t, channels.Latest)
		l.work("w1")
		l.push(update("k", 7))
		l.settles("k", 7, events.Delivered)
		// A publisher that does not look at what is there.
		other := update("k", 7)
		other.Payload = []byte(`"something else"`)
		msg, err := wire.Encode(l.names, other)
		testkit.Must(t, err)
		_, err = l.JS.PublishMsg(t.Context(), msg)
		testkit.Must(t, err)
		e := l.letter("k")
		if e.Outcome != events.Conflict || e.Code != "digest" {
			t.Errorf("entry %+v", e)
		}
		l.refused(e, deadletters.ErrStillFails, "other content")
		l.delivered("k", "7")
		// A newer version ends the conflict.
		l.push(update("k", 8))
		l.delivered("k", "7", "8")
		l.noLetter("k")
	})
}

func TestReplayIntoAChannelThatIsGone(t *testing.T) {
	l := newLab(t, channels.Latest)
	stop := l.work("w1")
	e := l.giveUp("k", 1)
	stop()
	c, err := l.reg.Get(t.Context(), "cal")
	testkit.Must(t, err)
	_, err = l.reg.Delete(t.Context(), "cal", c.Revision)
	testkit.Must(t, err)
	l.refused(e, channels.ErrDeleted, "cal")
	sum, err := l.store.ReplayAll(t.Context(), deadletters.Filter{}, nil)
	if err != nil || sum.Failed != 1 || len(sum.Errors) != 1 {
		t.Errorf("replay all: %+v, %v", sum, err)
	}
	if l.letter("k").Sequence != e.Sequence {
		t.Error("the letter is gone")
	}
}
