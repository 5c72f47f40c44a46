package delivery_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/publish"
)

// storeOf returns the directory of a stream of the lab's broker.
func (l *lab) storeOf(stream string) string {
	l.t.Helper()
	found, err := filepath.Glob(filepath.Join(l.Dir, "jetstream", "*", "streams", stream))
	testkit.Must(l.t, err)
	if len(found) != 1 {
		l.t.Fatalf("directories of stream %s: %v", stream, found)
	}
	return found[0]
}

// copyOf stops the broker, saves the files of streams, and starts it again.
func (l *lab) copyOf(streams ...string) (dir string) {
	l.t.Helper()
	dir = l.t.TempDir()
	l.Stop(l.t)
	for _, stream := range streams {
		testkit.Must(l.t, os.CopyFS(filepath.Join(dir, stream), os.DirFS(l.storeOf(stream))))
	}
	l.restart()
	return dir
}

// bringBack stops the broker, puts saved files in the place of what there is, and
// starts it again.
func (l *lab) bringBack(dir string) {
	l.t.Helper()
	l.Stop(l.t)
	saved, err := os.ReadDir(dir)
	testkit.Must(l.t, err)
	for _, stream := range saved {
		to := l.storeOf(stream.Name())
		testkit.Must(l.t, os.RemoveAll(to))
		testkit.Must(l.t, os.CopyFS(to, os.DirFS(filepath.Join(dir, stream.Name()))))
	}
	// What is stored from now on is surely later: clocks of brokers may differ a little.
	select {
	case <-time.After(300 * time.Millisecond):
	case <-l.t.Context().Done():
	}
	l.restart()
}

// restart starts the broker and connects all of the lab's clients anew.
func (l *lab) restart() {
	l.t.Helper()
	l.Start(l.t)
	var err error
	l.registry, err = channels.OpenRegistry(l.t.Context(), l.JS, events.DefaultNames(), l.catalog)
	testkit.Must(l.t, err)
	l.pub, err = publish.New(l.t.Context(), l.JS, events.DefaultNames())
	testkit.Must(l.t, err)
	l.ledger, err = wire.OpenLedger(l.t.Context(), l.JS, events.DefaultNames())
	testkit.Must(l.t, err)
}

// pushAll publishes version 1 of keys with the numbers from..until.
func (l *lab) pushAll(channel, prefix string, from, until int) {
	l.t.Helper()
	for i := from; i <= until; i++ {
		l.push(update(channel, fmt.Sprintf("%s%d", prefix, i), 1))
	}
}

// delivered waits until the target was written so many keys.
func (l *lab) delivered(n int) {
	l.t.Helper()
	l.eventually(fmt.Sprintf("%d keys at the target", n), func() bool {
		keys := map[string]bool{}
		for _, w := range l.tg.history() {
			keys[w.key] = true
		}
		return len(keys) == n
	})
}

// Streams are restored to sequence 500, progress was copied later and says 800,
// publishers reach 900 before workers start: 501 to 800 were skipped in silence.
// That nobody ran 'extsync recover' makes no difference.
func TestFloorOfALaterCopySkipsNothing(t *testing.T) {
	for _, mode := range []channels.Mode{channels.Latest, channels.Every} {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			l := newLab(t, channel("cal", mode))
			names := events.DefaultNames()
			a := l.work("a")
			l.pushAll("cal", "k", 1, 500)
			l.delivered(500)
			a.shutdown(t)
			older := l.copyOf(wire.UpdateStream(names, events.ToChannel("cal")), wire.KVStream(wire.LedgerBucket(names)), wire.OutcomeStream(names))

			b := l.work("b")
			l.pushAll("cal", "k", 501, 800)
			l.delivered(800)
			b.shutdown(t)
			l.bringBack(older)

			l.pushAll("cal", "after", 501, 900)
			l.work("c")
			l.delivered(1200)
		})
	}
}

// An alarm is there until 'extsync recover' was run; nobody has to have seen it.
func TestRestoredBrokerIsAnAlarmUntilRecover(t *testing.T) {
	t.Parallel()
	l := newLab(t, channel("cal", channels.Latest))
	names := events.DefaultNames()
	older := l.copyOf(wire.UpdateStream(names, events.ToChannel("cal")))
	a := l.work("a")
	l.pushAll("cal", "k", 1, 5)
	l.delivered(5)
	a.shutdown(t)
	l.bringBack(older)
	b := l.work("b")
	l.eventually("an alarm", func() bool { return !b.Status().Restored.IsZero() })
	b.shutdown(t)
	c := l.work("c") // it has seen nothing itself
	l.eventually("an alarm", func() bool { return !c.Status().Restored.IsZero() })

	_, _, err := wire.RenewIncarnation(t.Context(), l.JS, names)
	testkit.Must(t, err)
	select {
	case err = <-c.done:
		c.done <- nil
	case <-time.After(testkit.Patience):
		t.Fatal("the worker goes on in another incarnation")
	}
	if !errors.Is(err, events.ErrIncarnation) {
		t.Errorf("it ended with %v", err)
	}
	l.pub, err = publish.New(t.Context(), l.JS, names)
	testkit.Must(t, err)
	d := l.work("d")
	l.pushAll("cal", "k", 6, 10)
	l.delivered(10)
	if at := d.Status().Restored; !at.IsZero() {
		t.Errorf("an alarm of %s is left", at)
	}
}
