package delivery_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/deadletters"
	"github.com/hms-utl/extsync/pkg/events"
)

// What an operator does to one channel of a topic concerns that channel alone.

// pushKeys publishes a version of keys k0 to kn.
func (l *topicLab) pushKeys(n int, version int64) {
	l.t.Helper()
	for i := range n {
		l.push(toTopic(fmt.Sprint("k", i), version))
	}
}

// forwards fails unless a target was written the versions of each key in their order, each
// once.
func (l *topicLab) forwards(name string) {
	l.t.Helper()
	last := map[string]int{}
	for _, w := range l.targets[name].history() {
		v, err := strconv.Atoi(w.version)
		testkit.Must(l.t, err)
		if v < last[w.key] { // the same again is what a lapsed lease may cause on a busy machine
			l.t.Errorf("%s was written %s@%d after %d", name, w.key, v, last[w.key])
		}
		last[w.key] = v
	}
}

func TestPartitionsOfAChannelOfATopicAreChangedUnderLoad(t *testing.T) {
	t.Parallel()
	l := newTopicLab(t)
	l.reads("a", func(c *channels.Config) { c.Partitions = 4 })
	b := l.reads("b")
	l.work("w1")
	l.work("w2")
	const keys = 20
	load, stop := context.WithCancel(t.Context())
	defer stop()
	pushed := make(chan int64)
	go func() {
		version := int64(0)
		defer func() { pushed <- version }()
		for load.Err() == nil {
			version++
			for i := range keys {
				if _, err := l.pub.Publish(t.Context(), toTopic(fmt.Sprint("k", i), version)); err != nil {
					t.Error(err)
					return
				}
			}
		}
	}()
	for _, partitions := range []int{4, 16, 1} {
		b.Config.Partitions = partitions
		if b = l.put(b.Config); b.Config.Partitions != partitions || b.Gated {
			t.Fatalf("not changed to %d: %+v", partitions, b)
		}
		before := len(l.targets["b"].history())
		l.eventually("updates in the new partitions", func() bool { return len(l.targets["b"].history()) > before })
	}
	stop()
	version := <-pushed
	for _, name := range []string{"a", "b"} {
		l.all(name, keys, version)
		l.forwards(name)
	}
}

func TestResyncOfAChannelOfATopic(t *testing.T) {
	t.Parallel()
	l := newTopicLab(t)
	l.reads("a")
	l.reads("b", func(c *channels.Config) { c.Partitions, c.From.Keys = 4, "k1" })
	l.work("w")
	const keys = 30 // of which b takes k1 and k10 to k19
	l.pushKeys(keys, 1)
	l.all("a", keys, 1)
	for i := range 10 {
		l.outcome("b", fmt.Sprint("k", 10+i), 1)
	}
	l.outcome("b", "k1", 1)
	before := len(l.targets["a"].history())
	for _, test := range []struct {
		what channels.Selection
		want uint64
	}{
		{channels.Selection{}, 11},
		{channels.Selection{Prefix: "k"}, 11},
		{channels.Selection{Prefix: "k12"}, 1},
		{channels.Selection{Keys: []string{"k1", "k13", "k2", "unknown"}}, 2},
	} {
		_, err := l.registry.StartResync(t.Context(), "b", test.what)
		testkit.Must(t, err)
		l.eventually("the resync", func() bool {
			status, err := l.registry.ResyncStatus(t.Context(), "b")
			testkit.Must(t, err)
			if status.State == channels.ResyncDone && (status.Delivered != test.want || status.Failed != 0) {
				t.Errorf("resync of %+v: %+v, want %d delivered", test.what, status, test.want)
			}
			return status.State == channels.ResyncDone
		})
	}
	for _, w := range l.targets["b"].history() {
		if !strings.HasPrefix(w.key, "k1") {
			t.Errorf("b was written %s", w.key)
		}
	}
	if n := len(l.targets["a"].history()); n != before {
		t.Errorf("a was written %d times more", n-before)
	}
}

func TestDeadLetterOfAChannelOfATopicIsReplayed(t *testing.T) {
	t.Parallel()
	l := newTopicLab(t)
	l.reads("a")
	l.reads("b")
	l.targets["b"].answerWith(func(connectors.Attempt) connectors.Result {
		return connectors.Failed(connectors.Permanent, "422", errors.New("no"))
	})
	l.work("w")
	l.pushKeys(2, 3)
	l.all("a", 2, 3)
	for _, key := range []string{"k0", "k1"} {
		if ack := l.outcome("b", key, 3); ack.Outcome != events.DeadLettered {
			t.Fatalf("%+v", ack)
		}
	}
	store, err := deadletters.Open(t.Context(), l.JS, events.DefaultNames())
	testkit.Must(t, err)
	for channel, want := range map[string]int{"a": 0, "b": 2} {
		if n, err := store.Count(t.Context(), deadletters.Filter{Channel: channel}); err != nil || n != want {
			t.Errorf("%d letters of %s, %v", n, channel, err)
		}
	}
	l.targets["b"].answerWith(nil)
	l.push(toTopic("k1", 4)) // its letter is of the past
	l.outcome("b", "k1", 4)
	sum, err := store.Replayer(l.registry).ReplayAll(t.Context(), deadletters.Filter{Channel: "b"}, nil)
	testkit.Must(t, err)
	if got := fmt.Sprint(l.targets["b"].versions("k0"), l.targets["b"].versions("k1")); got != "[3] [4]" {
		t.Errorf("b has %s after %+v", got, sum)
	}
	l.outcome("a", "k1", 4)
	if n := len(l.targets["a"].history()); n != 2+1 {
		t.Errorf("a was written %d times", n)
	}
}

func TestKeyOfAChannelOfATopicIsGivenUp(t *testing.T) {
	t.Parallel()
	l := newTopicLab(t)
	l.reads("a")
	l.reads("b")
	l.targets["b"].answerWith(func(connectors.Attempt) connectors.Result {
		return connectors.Failed(connectors.Transient, "500", errors.New("down"))
	})
	l.work("w")
	l.push(toTopic("k0", 1))
	l.eventually("an attempt", func() bool { return slices.Contains(l.targets["b"].attempts(), "k0") })
	l.eventually("it to be given up", func() bool {
		settled, err := l.registry.GiveUp(t.Context(), "b", "k0")
		return err == nil && settled.Code == events.CodeGivenUp
	})
	l.all("a", 1, 1)
	if ack := l.outcome("b", "k0", 1); ack.Outcome != events.DeadLettered || ack.Topic != "" && ack.Topic != "policies" {
		t.Errorf("%+v", ack)
	}
	l.targets["b"].answerWith(nil)
	l.push(toTopic("k0", 2))
	l.all("b", 1, 2)
}

func TestPausedAndDeletedChannelsOfATopicMissNothing(t *testing.T) {
	t.Parallel()
	l := newTopicLab(t)
	l.reads("a")
	l.reads("b")
	e := l.reads("c", func(c *channels.Config) { c.Partitions = 4 })
	l.work("w")
	const keys = 10
	l.pushKeys(keys, 1)
	for _, name := range []string{"a", "b", "c"} {
		l.all(name, keys, 1)
	}
	_, err := l.registry.Pause(t.Context(), "b")
	testkit.Must(t, err)
	_, err = l.registry.Delete(t.Context(), "c", e.Revision)
	testkit.Must(t, err)
	if err := l.registry.ResetTopicKey(t.Context(), "policies", "k0"); !errors.Is(err, channels.ErrDeleted) {
		t.Errorf("a key is reset that nobody resets in c: %v", err)
	}
	for v := int64(2); v <= 3; v++ { // a takes them, whatever becomes of the others
		l.pushKeys(keys, v)
		l.all("a", keys, v)
	}
	_, err = l.registry.Resume(t.Context(), "b")
	testkit.Must(t, err)
	_, err = l.registry.Restore(t.Context(), "c")
	testkit.Must(t, err)
	for _, name := range []string{"b", "c"} {
		l.all(name, keys, 3)
		l.forwards(name)
	}
}

func TestNearlyFullTopicRefusesNewKeysOnly(t *testing.T) {
	t.Parallel()
	l := newTopicLab(t)
	_, err := l.registry.PutTopic(t.Context(), channels.Topic{Name: "small", MaxBytes: 1 << 20}, 0)
	testkit.Must(t, err)
	l.reads("a", func(c *channels.Config) { c.From.Topic = "small" })
	l.work("w")
	big := func(key string, version int64) events.Update {
		u := toTopic(key, version)
		u.Topic, u.Payload = "small", make([]byte, 100<<10)
		return u
	}
	var full error
	for i := 0; i < 20 && full == nil; i++ {
		if _, err := l.pub.Publish(t.Context(), big(fmt.Sprint("k", i), 1)); err != nil {
			full = err
		}
	}
	if !errors.Is(full, events.ErrFull) {
		t.Fatalf("no key was refused: %v", full)
	}
	for v := int64(2); v < 20; v++ {
		l.push(big("k0", v))
	}
	l.outcome("a", "k0", 19)
	topic, err := l.registry.Topic(t.Context(), "small")
	testkit.Must(t, err)
	topic.Topic.MaxBytes = 4 << 20
	_, err = l.registry.PutTopic(t.Context(), topic.Topic, topic.Revision)
	testkit.Must(t, err)
	l.eventually("room for another key", func() bool {
		_, err := l.pub.Publish(t.Context(), big("another", 1))
		return err == nil
	})
	l.outcome("a", "another", 1)
}

// The topic's stream is older than what its channels know: what is published at the places
// of what is lost reaches each of them.
func TestTopicOfARestoredBroker(t *testing.T) {
	t.Parallel()
	l := newTopicLab(t)
	l.reads("a")
	l.reads("b", func(c *channels.Config) { c.Partitions = 4 })
	w := l.work("w1")
	const keys = 20
	l.pushKeys(keys, 1)
	l.all("a", keys, 1)
	l.all("b", keys, 1)
	w.shutdown(t)
	older := l.copyOf(wire.UpdateStream(events.DefaultNames(), events.ToTopic("policies")))
	w = l.work("w2")
	for i := range keys {
		l.push(toTopic(fmt.Sprint("lost", i), 1))
	}
	for i := range keys {
		l.outcome("a", fmt.Sprint("lost", i), 1)
		l.outcome("b", fmt.Sprint("lost", i), 1)
	}
	w.shutdown(t)
	l.recovered(older)
	l.pushKeys(keys/2, 2) // fewer than are lost
	l.work("w3")
	for _, name := range []string{"a", "b"} {
		l.all(name, keys/2, 2)
		l.forwards(name)
	}
}

// A message that NATS clients do not hand out was settled and removed by whichever channel
// met it first, also by one that does not take its key: the others never heard of it.
func TestHiddenMessageOfATopicReachesEachOfItsChannels(t *testing.T) {
	t.Parallel()
	l := newTopicLab(t)
	l.reads("a")
	l.reads("b", func(c *channels.Config) { c.Partitions = 4 })
	l.reads("c", func(c *channels.Config) { c.From.Keys = "k" })
	l.work("w")
	names := events.DefaultNames()
	for _, status := range []string{"100", "404", "409"} {
		msg := nats.NewMsg(names.Update(events.ToTopic("policies"), "forged"+status))
		msg.Header.Set("Status", status)
		_, err := l.JS.PublishMsg(t.Context(), msg)
		testkit.Must(t, err)
	}
	l.pushKeys(3, 1)
	store, err := deadletters.Open(t.Context(), l.JS, names)
	testkit.Must(t, err)
	for _, name := range []string{"a", "b"} {
		l.all(name, 3, 1)
		l.eventually("the dead letters of "+name, func() bool {
			n, err := store.Count(t.Context(), deadletters.Filter{Channel: name, Code: "malformed"})
			testkit.Must(t, err)
			return n == 3
		})
	}
	l.all("c", 3, 1)
	if n, err := store.Count(t.Context(), deadletters.Filter{Channel: "c"}); err != nil || n != 0 {
		t.Errorf("%d letters of keys that c does not take, %v", n, err)
	}
	l.push(toTopic("forged404", 1)) // the key is usable
	l.outcome("a", "forged404", 1)
	_, err = l.registry.StartResync(t.Context(), "b", channels.Selection{})
	testkit.Must(t, err)
	l.eventually("a resync to get past it", func() bool {
		status, err := l.registry.ResyncStatus(t.Context(), "b")
		testkit.Must(t, err)
		return status.State == channels.ResyncDone
	})
}

// The reset of a topic's key was written to the log and the ledger of channels that never
// had it.
func TestResetOfATopicsKeyLeavesNoTraceWhereItIsNotTaken(t *testing.T) {
	t.Parallel()
	l := newTopicLab(t)
	l.reads("a")
	b := l.reads("b", func(c *channels.Config) { c.From.Keys = "x" })
	l.work("w")
	l.push(toTopic("k0", 7))
	l.push(toTopic("x0", 7))
	l.all("a", 1, 7)
	l.outcome("b", "x0", 7)
	testkit.Must(t, l.registry.ResetTopicKey(t.Context(), "policies", "k0"))
	if _, err := l.ledger.Get(t.Context(), "b", "k0"); !errors.Is(err, events.ErrNoRecord) {
		t.Errorf("b has a record of k0: %v", err)
	}
	// What the channel took once is reset there: it may take it again.
	b.Config.From = &channels.From{Topic: "policies", Keys: "k"}
	b = l.put(b.Config)
	l.eventually("the reset of a key that b takes no longer", func() bool {
		return l.registry.ResetTopicKey(t.Context(), "policies", "x0") == nil
	})
	if rec, err := l.ledger.Get(t.Context(), "b", "x0"); err != nil || !rec.Settled.IsZero() {
		t.Errorf("b has %+v of x0, %v", rec.Settled, err)
	}
	b.Config.From = &channels.From{Topic: "policies"}
	l.put(b.Config)
	l.push(toTopic("x0", 1))
	l.eventually("version 1 of x0, which goes with the change", func() bool {
		return slices.Equal(l.targets["b"].versions("x0"), []string{"7", "1"})
	})
}
