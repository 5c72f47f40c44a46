package delivery_test

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/delivery"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/why"
)

const (
	leastShare  = 2 << 20 // of a partition in a shared stream
	crowdWindow = 64
	inHand      = crowdWindow * 2 << 10 // of the ledger, for what is in hand when a share is used up
)

// A crowd is a channel that takes more than its part of a shared stream, beside one that
// needs little of it. The stream has room for what both may take, and no more.
type crowd struct {
	*lab
	w      *running
	stream string
	more   int // good keys that were published while something was awaited
}

func newCrowd(t *testing.T, stream string, mode channels.Mode) *crowd {
	t.Helper()
	var cfg [2]channels.Config
	for i, name := range []string{"greedy", "modest"} {
		cfg[i] = channel(name, mode)
		cfg[i].Window = crowdWindow
		cfg[i].Retry.MaxAttempts = 1000 // what is parked stays there
	}
	l := newLab(t, cfg[0])
	l.put(cfg[1])
	for _, c := range cfg {
		l.quota(c.Name, 1) // the least
	}
	l.full(stream, 2*(leastShare+inHand))
	w := l.work("a", func(o *delivery.Options) { o.ParkAfter = 50 * time.Millisecond })
	return &crowd{lab: l, w: w, stream: stream}
}

// quota gives a channel a quota of each shared stream.
func (l *lab) quota(name string, size channels.Bytes) {
	l.t.Helper()
	e, err := l.registry.Get(l.t.Context(), name)
	testkit.Must(l.t, err)
	e.Config.Quota.Ledger, e.Config.Quota.DeadLetters, e.Config.Quota.Parked = size, size, size
	l.put(e.Config)
}

// waits waits until the worker says that the greedy channel has used up its quota, or no
// longer; of the other it never says anything.
func (c *crowd) waits(quota string) {
	c.t.Helper()
	c.eventually("the worker says of quota "+quota, func() bool {
		c.more++ // the target is well
		c.push(update("greedy", fmt.Sprint("more", c.more), 1))
		said := ""
		for _, w := range c.w.Status().Waits {
			if w.Channel == "modest" {
				c.t.Fatalf("the other channel waits: %+v", w)
			}
			if w.Code == why.QuotaFull {
				said = w.Message
			}
		}
		return said == "" && quota == "" || quota != "" && strings.Contains(said, "quota."+quota+": ")
	})
}

// takes returns how many messages, and how many bytes, the stream has of a channel.
func (c *crowd) takes(filter string) (n int, bytes int64) {
	c.t.Helper()
	for msg, err := range wire.ReadStream(c.t.Context(), c.JS, wire.StreamQuery{Stream: c.stream, Subject: filter}) {
		testkit.Must(c.t, err)
		n++
		bytes += wire.StoredSize(msg.Subject, msg.Header, len(msg.Data))
	}
	return n, bytes
}

// wantShare fails if the greedy channel has taken more than its part, or far less.
func (c *crowd) wantShare(filter string, slack int64) {
	c.t.Helper()
	var n int
	var bytes int64
	c.eventually("most of its part to be written", func() bool { // the ledger is written behind
		n, bytes = c.takes(filter)
		return bytes >= leastShare*3/4
	})
	if bytes > leastShare+slack {
		c.t.Errorf("it has %d messages with %d bytes, of %d", n, bytes, leastShare)
	}
}

// large returns an update of which some hundred fill the least share of a stream.
func large(key string, version int64) events.Update {
	u := update("greedy", key, version)
	u.Payload = []byte(`{"v":"` + strings.Repeat("x", 16<<10) + `"}`)
	return u
}

// refusing answers for keys that begin with bad in another way than for others.
func (c *crowd) refusing(class connectors.Class) {
	c.tg.answerWith(func(a connectors.Attempt) connectors.Result {
		if strings.HasPrefix(a.Key, "bad") {
			return connectors.Failed(class, "x", errors.New("because"))
		}
		return connectors.Done()
	})
}

// pushBad publishes keys that fail, with good ones between them: the target is well.
func (c *crowd) pushBad(n int) {
	c.t.Helper()
	for k := range n {
		c.push(large(fmt.Sprint("bad", k), 1))
		c.push(update("greedy", fmt.Sprint("good", k), 1))
	}
}

func (c *crowd) outcomes(channel, prefix string, n int, want events.Outcome) {
	c.t.Helper()
	for k := range n {
		if ack := c.outcome(channel, fmt.Sprint(prefix, k), 1); ack.Outcome != want {
			c.t.Fatalf("%s%d: %s, want %s", prefix, k, ack.Outcome, want)
		}
	}
}

const crowded = 160 // bad keys: more than leastShare holds

func TestDeadLettersOfAChannelStayWithinItsQuota(t *testing.T) {
	t.Parallel()
	names := events.DefaultNames()
	c := newCrowd(t, wire.DeadStream(names), channels.Latest)
	c.refusing(connectors.Permanent)
	c.pushBad(crowded)
	c.waits("dead_letters")
	c.outcomes("greedy", "good", crowded, events.Delivered) // other keys go on
	c.push(update("modest", "bad0", 1))
	c.outcomes("modest", "bad", 1, events.DeadLettered)
	c.wantShare(wire.DeadFilter(names, "greedy"), 0)
	stored, _ := c.takes(wire.DeadFilter(names, "greedy"))
	// What waits for room is not brought to the target again: its refusals blocked the
	// channel as one that refuses everything, and hid the reason.
	asked := map[string]int{}
	for _, key := range c.tg.attempts() {
		asked[key]++
	}
	for k := range crowded {
		if key := fmt.Sprint("bad", k); asked[key] > 1 && key != "bad0" { // that one is of both channels
			t.Errorf("%s was brought to the target %d times", key, asked[key])
		}
	}
	c.tg.answerWith(nil)
	c.quota("greedy", 2*leastShare)
	ended := map[events.Outcome]int{}
	for k := range crowded {
		ended[c.outcome("greedy", fmt.Sprint("bad", k), 1).Outcome]++
	}
	if ended[events.DeadLettered] != stored || ended[events.Delivered] != crowded-stored {
		t.Errorf("%v; want %d dead letters, and the others delivered now", ended, stored)
	}
	c.waits("")
}

func TestParkedUpdatesOfAChannelStayWithinItsQuota(t *testing.T) {
	t.Parallel()
	names := events.DefaultNames()
	c := newCrowd(t, wire.ParkedStream(names), channels.Every)
	c.refusing(connectors.Transient)
	for v := range crowded { // of one key: it alone does not open the circuit
		c.push(large("bad", int64(v+1)))
	}
	c.waits("parked")
	if ack := c.request(update("greedy", "good", 1)); ack.Outcome != events.Delivered {
		t.Errorf("another key: %+v", ack)
	}
	c.request(update("modest", "good", 1)) // it is not the channel that fails
	c.push(update("modest", "badly", 1))
	c.eventually("the other channel's key is parked", func() bool {
		n, _ := c.takes(wire.ParkedFilter(names, "modest"))
		return n == 1
	})
	c.wantShare(wire.ParkedFilter(names, "greedy"), 0)
	c.tg.answerWith(nil)
	c.quota("greedy", 2*leastShare)
	c.eventually("all versions to be delivered", func() bool { return len(c.tg.versions("bad")) >= crowded })
	for i, v := range c.tg.versions("bad") {
		if v != strconv.Itoa(i+1) {
			t.Fatalf("place %d has version %s: %v", i+1, v, c.tg.versions("bad"))
		}
	}
	c.waits("")
}

func TestLedgerOfAChannelStaysWithinItsQuota(t *testing.T) {
	t.Parallel()
	const keys = 2500
	names := events.DefaultNames()
	c := newCrowd(t, wire.KVStream(wire.LedgerBucket(names)), channels.Latest)
	long := strings.Repeat("long", 200)
	for k := range keys {
		c.push(update("greedy", fmt.Sprint(long, k), 1))
	}
	c.waits("ledger")
	if ack := c.request(update("modest", "a", 1)); ack.Outcome != events.Delivered {
		t.Errorf("the other channel: %+v", ack)
	}
	c.outcomes("modest", "a", 0, events.Delivered)
	c.wantShare(wire.LedgerRecords(names, "greedy"), inHand)
	if n := len(c.tg.history()); n >= keys {
		t.Errorf("%d of %d were delivered", n, keys)
	}
	c.quota("greedy", 4*leastShare)
	c.outcomes("greedy", long, keys, events.Delivered)
	c.waits("")
}

// The outcome log drops its oldest records: a channel that fills it shortens the history of
// others, and nothing else.
func TestOutcomesOfAChannelThatFillTheLogStopNoOther(t *testing.T) {
	t.Parallel()
	names := events.DefaultNames()
	c := newCrowd(t, wire.OutcomeStream(names), channels.Latest)
	c.full(c.stream, 64<<10)
	before := c.request(update("modest", "a", 1))
	for k := range 1000 {
		c.push(update("greedy", fmt.Sprint("k", k), 1))
	}
	c.outcomes("greedy", "k", 1000, events.Delivered)
	c.w.shutdown(t)
	c.w = c.work("b")
	if ack := c.outcome("modest", "a", 1); ack.Outcome != before.Outcome || ack.At != before.At {
		t.Errorf("%+v, it was %+v", ack, before)
	}
	if ack := c.request(update("modest", "a", 2)); ack.Outcome != events.Delivered {
		t.Errorf("the other channel: %+v", ack)
	}
	c.waits("")
}
