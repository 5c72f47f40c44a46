package deadletters_test

import (
	"bytes"
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

// What is delivered, or overtaken by what is, leaves nothing behind.
func TestWorkerRemovesResolvedLetters(t *testing.T) {
	for _, mode := range modes {
		t.Run(string(mode), func(t *testing.T) {
			l := newLab(t, mode)
			l.work("w1")
			kept := l.giveUp("kept", 1)
			for v := int64(1); v <= 3; v++ {
				l.tg.refuses(connectors.Permanent, "422")
				l.push(update("k", v))
				l.settles("k", v, events.DeadLettered)
			}
			l.tg.takes()
			if got := l.letters(deadletters.Filter{Key: "k", Channel: "cal", AnyState: true}); len(got) != 3 {
				t.Fatalf("letters %+v", got)
			}
			l.push(update("k", 4))
			l.delivered("k", "4")
			l.onlyLeft(kept)

			e := l.giveUp("k", 5)
			l.replay(e)
			l.delivered("k", "4", "5")
			l.onlyLeft(kept)
		})
	}
}

// onlyLeft waits until one letter is stored, and no other in any state.
func (l *lab) onlyLeft(e deadletters.Entry) {
	l.t.Helper()
	l.eventually("the letters to be removed", func() bool {
		got := l.letters(deadletters.Filter{AnyState: true})
		return len(got) == 1 && got[0].Sequence == e.Sequence
	})
}

// An update that fills a message to the last byte leaves no room for what a
// letter says.
func TestLetterOfTheLargestUpdate(t *testing.T) {
	for name, spare := range map[string]int{
		"as large as the publisher allows": 512,
		"as large as the broker allows":    0,
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, channels.Latest)
			l.tg.refuses(connectors.Permanent, "422")
			l.work("w1")
			msg, err := wire.Encode(l.names, update("large", 1))
			testkit.Must(t, err)
			if spare == 0 {
				msg.Header.Del(nats.MsgIdHdr)
			}
			msg.Data = bytes.Repeat([]byte("x"), int(l.Conn.MaxPayload())-headerSize(msg.Header)-spare)
			_, err = l.JS.PublishMsg(t.Context(), msg)
			testkit.Must(t, err)
			l.settles("large", 1, events.DeadLettered)
			e := l.letter("large")
			if e.Version != testkit.Number(1) || e.PayloadSize != len(msg.Data) {
				t.Errorf("entry %+v", e)
			}
			l.tg.takes()
			l.replay(e)
			l.delivered("large", "1")
		})
	}
}

// headerSize returns what headers take on the wire, in bytes.
func headerSize(h nats.Header) int {
	size := len("NATS/1.0\r\n\r\n")
	for name, values := range h {
		for _, v := range values {
			size += len(name) + len(": ") + len(v) + len("\r\n")
		}
	}
	return size
}

// A letter was discarded, and the worker stores the same one again because it was killed
// before it settled the update.
func TestDiscardedLetterIsStoredAgain(t *testing.T) {
	l := newLab(t, channels.Latest)
	l.tg.refuses(connectors.Permanent, "422")
	u := update("k", 7)
	receipt := l.push(u)
	msg := l.letterOf(u, time.Now())
	msg.Header.Set(nats.MsgIdHdr, l.letterID(receipt.Sequence))
	first := l.store1(msg)
	stream, err := l.JS.Stream(t.Context(), wire.DeadStream(l.names))
	testkit.Must(t, err)
	testkit.Must(t, stream.DeleteMsg(t.Context(), first))
	l.work("w1")
	l.settles("k", 7, events.DeadLettered)
	if e := l.letter("k"); e.Sequence == first || e.Code != "422" {
		t.Errorf("letter %+v", e)
	}
}

// After a reset a key's versions start anew: what was given up before says nothing
// any more.
func TestResetOfAKeyRemovesItsLetters(t *testing.T) {
	for _, mode := range modes {
		t.Run(string(mode), func(t *testing.T) {
			l := newLab(t, mode)
			l.work("w1")
			kept := l.giveUp("kept", 9)
			l.giveUp("k", 9)
			testkit.Must(t, l.reg.ResetKey(t.Context(), "cal", "k"))
			l.onlyLeft(kept)
			l.eventually("the ledger to forget", func() bool {
				rec, err := l.ledger.Get(t.Context(), "cal", "k")
				return err == nil && rec.Settled.IsZero()
			})
			again := l.giveUp("k", 1)
			l.replay(again)
			l.delivered("k", "1")
			l.onlyLeft(kept)
		})
	}
}
