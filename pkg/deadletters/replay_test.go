package deadletters_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/deadletters"
	"github.com/hms-utl/extsync/pkg/events"
)

var modes = []channels.Mode{channels.Latest, channels.Every} //nolint:gochecknoglobals // a constant that the language cannot express as one

// replay sends a letter again and must publish it.
func (l *lab) replay(e deadletters.Entry) deadletters.Result {
	l.t.Helper()
	res, err := l.store.Replay(l.t.Context(), e.Sequence)
	testkit.Must(l.t, err)
	if !res.Published() || !events.IsReplay(res.MessageID) || !strings.HasPrefix(res.String(), "published again") {
		l.t.Fatalf("replay of %+v: %v", e, res)
	}
	return res
}

// superseded sends a letter again, which must be refused because of a newer
// version.
func (l *lab) superseded(e deadletters.Entry, by int64) {
	l.t.Helper()
	res, err := l.store.Replay(l.t.Context(), e.Sequence)
	testkit.Must(l.t, err)
	if res.Published() || res.SupersededBy != testkit.Number(by) || res.String() != "superseded by version "+testkit.Number(by).String() {
		l.t.Fatalf("replay of %+v: %v", e, res)
	}
}

func TestReplayAfterTheTargetWasMended(t *testing.T) {
	for _, mode := range modes {
		t.Run(string(mode), func(t *testing.T) {
			l := newLab(t, mode)
			l.work("w1")
			e := l.giveUp("replay", 7) // a key that looks like the mark of a replay
			l.replay(e)
			l.delivered("replay", "7")
			l.settles("replay", 7, events.Delivered)
			l.noLetter("replay")

			// The story can be read from the log.
			line, err := events.History(t.Context(), l.JS, l.names, "cal", "replay", 0)
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

func TestReplayTwice(t *testing.T) {
	for _, mode := range modes {
		t.Run(string(mode), func(t *testing.T) {
			l := newLab(t, mode)
			stop := l.work("w1")
			e := l.giveUp("k", 7)
			stop()
			first, second := l.replay(e), l.replay(e)
			if first.Sequence == second.Sequence || first.MessageID == second.MessageID {
				t.Errorf("the second replay was swallowed: %+v, %+v", first, second)
			}
			l.work("w2")
			l.settles("k", 7, events.Delivered)
			l.noLetter("k")
		})
	}
}

// A replay that is given up again takes the place of its letter.
func TestReplayThatIsGivenUpAgain(t *testing.T) {
	for _, mode := range modes {
		t.Run(string(mode), func(t *testing.T) {
			l := newLab(t, mode)
			l.work("w1")
			first := l.giveUp("k", 7)
			for _, code := range []string{"423", "424"} {
				l.tg.refuses(connectors.Permanent, code)
				l.replay(l.letter("k"))
				l.eventually("another letter", func() bool {
					e := l.letter("k")
					return e.Code == code && e.Sequence > first.Sequence
				})
			}
			if got := l.letters(deadletters.Filter{State: deadletters.StatePending}); len(got) != 0 {
				t.Errorf("pending letters %+v", got)
			}
			l.tg.takes()
			l.replay(l.letter("k"))
			l.delivered("k", "7")
			l.noLetter("k")
		})
	}
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
	t.Run("a newer version is delivered while the replay waits", func(t *testing.T) {
		l := newLab(t, channels.Every)
		stop := l.work("w1")
		e := l.giveUp("k", 7)
		stop()
		l.push(update("k", 8))
		l.replay(e) // behind version 8
		l.work("w2")
		l.settles("k", 7, events.Superseded)
		l.delivered("k", "8")
		l.noLetter("k")
	})
	t.Run("a newer version waits in a latest channel", func(t *testing.T) {
		l := newLab(t, channels.Latest)
		stop := l.work("w1")
		e := l.giveUp("k", 7)
		stop()
		head := l.push(update("k", 8))
		l.superseded(e, 8)
		// Nothing was lost by asking.
		l.work("w2")
		l.delivered("k", "8")
		l.noLetter("k")
		stream, err := l.JS.Stream(t.Context(), l.names.UpdateStream("cal"))
		testkit.Must(t, err)
		if got := stream.CachedInfo().State.LastSeq; got != head.Sequence {
			t.Errorf("something was published: last sequence %d, want %d", got, head.Sequence)
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
		newer := l.letters(deadletters.Filter{Channel: "cal", Key: "k"})[1]
		l.replay(newer)
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
	if err != nil || sum.Replayed != versions || sum.Done != versions {
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
		msg, err := events.Encode(l.names, other)
		testkit.Must(t, err)
		_, err = l.JS.PublishMsg(t.Context(), msg)
		testkit.Must(t, err)
		e := l.letter("k")
		if e.Outcome != events.Conflict || e.Code != "digest" {
			t.Errorf("entry %+v", e)
		}
		l.replay(e) // the head is this content: the worker decides
		l.eventually("another letter", func() bool { return l.letter("k").Sequence != e.Sequence })
		l.delivered("k", "7")

		// While the first content is the head, the other must not take its place.
		u := update("k", 7)
		head, err := events.Encode(l.names, u)
		testkit.Must(t, err)
		head.Header.Set(events.HeaderMsgID, "once more")
		_, err = l.JS.PublishMsg(t.Context(), head)
		testkit.Must(t, err)
		var refusal *events.HeadError
		if _, err := l.store.Replay(t.Context(), l.letter("k").Sequence); !errors.As(err, &refusal) || !errors.Is(err, events.ErrConflict) || refusal.Head != u.Tag() {
			t.Errorf("replay: %v", err)
		}
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
	testkit.Must(t, l.JS.DeleteStream(t.Context(), l.names.UpdateStream("cal")))
	if _, err := l.store.Replay(t.Context(), e.Sequence); !errors.Is(err, events.ErrUnknownChannel) {
		t.Errorf("replay: %v", err)
	}
	sum, err := l.store.ReplayAll(t.Context(), deadletters.Filter{}, nil)
	if err != nil || sum.Failed != 1 || len(sum.Errors) != 1 || !errors.Is(sum.Errors[0], events.ErrUnknownChannel) {
		t.Errorf("replay all: %+v, %v", sum, err)
	}
	if l.letter("k").Sequence != e.Sequence {
		t.Error("the letter is gone")
	}
}
