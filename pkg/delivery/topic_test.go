package delivery_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/delivery"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/publish"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// topicLab is a lab with a topic, which channel cal reads, and each other channel by its own
// target.
type topicLab struct {
	*lab
	targets map[string]*target
}

func newTopicLab(t *testing.T) *topicLab {
	t.Helper()
	l := &topicLab{newLab(t, channel("first", channels.Latest)), map[string]*target{}}
	kinds := []connectors.Kind{}
	for _, name := range []string{"memory", "a", "b", "c"} {
		tg := newTarget()
		l.targets[name] = tg
		kinds = append(kinds, connectors.Kind{
			Name: name, Check: func([]byte) error { return nil },
			Open: func(context.Context, connectors.Env, []byte) (connectors.Connector, error) { return tg, nil },
		})
	}
	l.catalog = connectors.NewCatalog(kinds...)
	var err error
	l.registry, err = channels.OpenRegistry(t.Context(), l.JS, events.DefaultNames(), l.catalog)
	testkit.Must(t, err)
	_, err = l.registry.PutTopic(t.Context(), channels.Topic{Name: "policies"}, 0)
	testkit.Must(t, err)
	return l
}

// reads makes a channel that reads the topic and has the target of its name.
func (l *topicLab) reads(name string, change ...func(*channels.Config)) channels.Entry {
	cfg := channel(name, channels.Latest)
	cfg.Connector.Kind, cfg.From = name, &channels.From{Topic: "policies"}
	for _, c := range change {
		c(&cfg)
	}
	return l.put(cfg)
}

func toTopic(key string, version int64) events.Update {
	u := update("", key, version)
	u.Topic = "policies"
	return u
}

// all waits until a target holds a version of keys k0 to kn, and was asked once for each.
func (l *topicLab) all(name string, n int, version int64) {
	l.t.Helper()
	for i := range n {
		key := fmt.Sprint("k", i)
		l.outcome(name, key, version)
		if got := l.targets[name].versions(key); len(got) == 0 || got[len(got)-1] != fmt.Sprint(version) {
			l.t.Fatalf("%s has %v of %s, want %d last", name, got, key, version)
		}
	}
}

func TestTopicReachesEachOfItsChannels(t *testing.T) {
	t.Parallel()
	l := newTopicLab(t)
	l.reads("a")
	l.reads("b", func(c *channels.Config) { c.Partitions = 4 })
	l.work("w1")
	l.work("w2")
	const keys = 40
	for v := int64(1); v <= 2; v++ {
		for i := range keys {
			r := l.push(toTopic(fmt.Sprint("k", i), v))
			if r.Topic != "policies" || r.Channel != "" || r.Sequence == 0 {
				t.Fatalf("receipt %+v", r)
			}
		}
		l.all("a", keys, v)
		l.all("b", keys, v)
	}
	// One that is made later gets the newest version of each key, with one write.
	l.reads("c", func(c *channels.Config) { c.Partitions = 16 })
	l.all("c", keys, 2)
	if n := len(l.targets["c"].history()); n != keys {
		t.Errorf("%d writes for %d keys", n, keys)
	}
	// The guard is the topic's: no channel is asked.
	var refused *events.HeadError
	if _, err := l.pub.Publish(t.Context(), toTopic("k1", 1)); !errors.As(err, &refused) || !errors.Is(err, events.ErrStale) || refused.Topic != "policies" {
		t.Errorf("an older version: %v", err)
	}
	if r := l.push(toTopic("k1", 2)); !r.Duplicate {
		t.Errorf("the same version: %+v", r)
	}
	for name, u := range map[error]events.Update{
		events.ErrReadsTopic: update("a", "k", 1), events.ErrInvalidUpdate: {Channel: "a", Topic: "policies", Key: "k", Version: testkit.Number(1)},
		events.ErrUnknownTopic: {Topic: "none", Key: "k", Version: testkit.Number(1), Payload: []byte("{}")},
	} {
		if _, err := l.pub.Publish(t.Context(), u); !errors.Is(err, name) {
			t.Errorf("%v, want %v", err, name)
		}
	}
}

// Each channel has its own outcome, and sends its own ack.
func TestEachChannelOfATopicHasItsOwnOutcome(t *testing.T) {
	t.Parallel()
	l := newTopicLab(t)
	l.reads("a")
	l.reads("b", func(c *channels.Config) { c.Filter = ".key != \"k2\"" })
	l.reads("c", func(c *channels.Config) { c.From.Keys = "k1" })
	l.targets["a"].answerWith(func(a connectors.Attempt) connectors.Result {
		if a.Key == "k3" {
			return connectors.Failed(connectors.Permanent, "422", errors.New("no"))
		}
		return connectors.Done()
	})
	l.work("w")
	reply := l.JS.Conn().NewInbox()
	acks, err := l.JS.Conn().SubscribeSync(reply)
	testkit.Must(t, err)
	for _, key := range []string{"k1", "k2", "k3"} {
		u := toTopic(key, 1)
		u.ReplyTo = reply
		l.push(u)
	}
	got := map[string]string{}
	for range 7 {
		msg, err := acks.NextMsg(testkit.Patience)
		testkit.Must(t, err)
		ack, err := publish.DecodeAck(msg.Data)
		testkit.Must(t, err)
		if ack.Topic != "policies" {
			t.Errorf("an ack of topic %q", ack.Topic)
		}
		got[ack.Channel+" "+ack.Key] = string(ack.Outcome) + " " + ack.Code
	}
	want := map[string]string{
		"a k1": "delivered ", "a k2": "delivered ", "a k3": "dead_lettered 422",
		"b k1": "delivered ", "b k2": "delivered filtered", "b k3": "delivered ", "c k1": "delivered ",
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("acks %v, want %v", got, want)
	}
	if _, err := l.pub.Outcome(t.Context(), "c", "k2", versioning.Tag{Version: testkit.Number(1)}); !errors.Is(err, events.ErrNoRecord) {
		t.Errorf("a key that the channel does not take: %v", err)
	}
	if w := l.targets["c"].history(); len(w) != 1 || w[0].key != "k1" {
		t.Errorf("c has %v", w)
	}
}

func TestKeysOfATopicAreResetWithItsChannels(t *testing.T) {
	t.Parallel()
	l := newTopicLab(t)
	l.reads("a")
	l.reads("b")
	l.work("w")
	l.push(toTopic("k0", 7))
	l.all("a", 1, 7)
	l.all("b", 1, 7)
	if err := l.registry.ResetKey(t.Context(), "a", "k0"); !errors.Is(err, events.ErrReadsTopic) {
		t.Errorf("the key of one channel: %v", err)
	}
	testkit.Must(t, l.registry.ResetTopicKey(t.Context(), "policies", "k0"))
	l.push(toTopic("k0", 1))
	l.all("a", 1, 1)
	l.all("b", 1, 1)
	testkit.Must(t, l.registry.ResetTopicKey(t.Context(), "policies", "k0"))
	if r := l.push(toTopic("k0", 1)); r.Duplicate { // the broker has had this very update, and it is new
		t.Errorf("%+v", r)
	}
	l.eventually("the same content again", func() bool { return len(l.targets["b"].versions("k0")) == 3 })
}

func TestChangesOfTopicsAndOfWhatReadsThem(t *testing.T) {
	t.Parallel()
	l := newTopicLab(t)
	e := l.reads("a")
	refuse := func(what string, c channels.Config, want error) {
		t.Helper()
		var revision uint64
		if c.Name == "a" {
			revision = e.Revision
		}
		if _, err := l.registry.Put(t.Context(), c, revision); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", what, err, want)
		}
	}
	of := func(change func(*channels.Config)) channels.Config {
		c := e.Config
		from := *c.From
		c.From = &from
		change(&c)
		return c
	}
	refuse("another topic", of(func(c *channels.Config) { c.From.Topic = "other" }), channels.ErrImmutable)
	refuse("no topic", of(func(c *channels.Config) { c.From = nil }), channels.ErrImmutable)
	refuse("a topic that is not there", of(func(c *channels.Config) { c.Name, c.From.Topic = "new", "none" }), channels.ErrNotFound)
	refuse("mode every", of(func(c *channels.Config) { c.Name, c.Mode = "new", channels.Every }), connectors.ErrConfig)
	refuse("a topic's name", of(func(c *channels.Config) { c.Name, c.From.Topic = "new", "No" }), connectors.ErrConfig)
	topic, err := l.registry.Topic(t.Context(), "policies")
	testkit.Must(t, err)
	if err := l.registry.DeleteTopic(t.Context(), "policies", topic.Revision); !errors.Is(err, channels.ErrTopicRead) {
		t.Errorf("delete a topic that is read: %v", err)
	}
	l.push(toTopic("k", 9))
	testkit.Must(t, l.registry.Purge(t.Context(), "a", e.Revision))
	testkit.Must(t, l.registry.DeleteTopic(t.Context(), "policies", topic.Revision))
	if got, err := l.registry.Topics(t.Context()); err != nil || len(got) != 0 {
		t.Errorf("topics %v, %v", got, err)
	}
	if _, err := l.registry.PutTopic(t.Context(), channels.Topic{Name: "policies", MaxBytes: 2 << 20}, 0); err != nil {
		t.Errorf("made anew: %v", err)
	}
	l.reads("a")
	l.work("w")
	l.push(toTopic("k0", 1)) // nothing of the former topic or channel counts
	l.all("a", 1, 1)
}

// What a topic has when a channel is made comes behind live updates, and is as live as they
// are: what the target refuses is a dead letter, what fails is tried again.
func TestNewChannelGetsWhatItsTopicHas(t *testing.T) {
	t.Parallel()
	l := newTopicLab(t)
	const keys = 300
	for i := range keys {
		l.push(toTopic(fmt.Sprint("k", i), 1))
	}
	subject := wire.UpdateStream(events.DefaultNames(), events.ToTopic("policies"))
	testkit.Must(t, l.JS.Conn().PublishMsg(&nats.Msg{Subject: events.DefaultNames().Update(events.ToTopic("policies"), "garbled"), Data: []byte("x")}))
	testkit.Must(t, l.JS.Conn().PublishMsg(&nats.Msg{Subject: events.DefaultNames().Update(events.ToTopic("policies"), "hidden"), Header: nats.Header{"Status": {"100"}}}))
	l.eventually("the stream to have all", func() bool {
		s, err := l.JS.Stream(t.Context(), subject)
		return err == nil && s.CachedInfo().State.Msgs == keys+2
	})
	l.push(toTopic("k300", 1))
	failed := map[string]bool{}
	var mu sync.Mutex
	next := make(chan struct{})
	l.targets["a"].answerWith(func(a connectors.Attempt) connectors.Result {
		if a.Key != "live" {
			<-next
		}
		mu.Lock()
		defer mu.Unlock()
		switch {
		case a.Key == "k7":
			return connectors.Failed(connectors.Permanent, "422", errors.New("no"))
		case a.Key == "k9" && !failed[a.Key]:
			failed[a.Key] = true
			return connectors.Failed(connectors.Transient, "503", errors.New("busy"))
		}
		return connectors.Done()
	})
	l.reads("a", func(c *channels.Config) { c.Concurrency, c.Partitions = 2, 1 })
	w := l.work("w")
	held := func(calls, updates int) {
		t.Helper()
		l.eventually(fmt.Sprintf("%d calls and %d updates", calls, updates), func() bool {
			return slices.ContainsFunc(w.Status().Partitions, func(p delivery.PartitionStatus) bool {
				return p.Channel == "a" && p.InFlight == calls && p.Updates == updates
			})
		})
	}
	held(1, 4) // the other call is kept for what is live
	l.push(toTopic("live", 1))
	l.outcome("a", "live", 1)
	if w := l.targets["a"].history(); len(w) != 1 || w[0].key != "live" {
		t.Errorf("what is live waited: %v", w)
	}
	if _, err := l.registry.StartResync(t.Context(), "a", channels.Selection{}); !errors.Is(err, channels.ErrFilling) {
		t.Errorf("a resync meanwhile: %v", err)
	}
	if _, err := l.registry.SetResync(t.Context(), "a", channels.ResyncStopped); !errors.Is(err, channels.ErrFilling) {
		t.Errorf("stopped: %v", err)
	}
	e, err := l.registry.Get(t.Context(), "a")
	testkit.Must(t, err)
	b, err := l.registry.Backlog(t.Context(), e)
	testkit.Must(t, err)
	if b.Filling == 0 || b.FillTotal != keys+3 || b.Undelivered < b.Filling {
		t.Errorf("backlog %+v", b)
	}
	close(next)
	for i := range keys + 1 {
		key, want := fmt.Sprint("k", i), events.Delivered
		if i == 7 {
			want = events.DeadLettered
		}
		if ack := l.outcome("a", key, 1); ack.Outcome != want {
			t.Errorf("%s: %+v", key, ack)
		}
	}
	l.eventually("all to be looked at", func() bool {
		status, err := l.registry.ResyncStatus(t.Context(), "a")
		testkit.Must(t, err)
		return status.State == channels.ResyncDone
	})
	if n := len(l.targets["a"].history()); n != keys+1 { // but for k7, and with that of live
		t.Errorf("%d writes for %d keys", n, keys+1)
	}
	letters, err := l.JS.Stream(t.Context(), wire.DeadStream(events.DefaultNames()))
	testkit.Must(t, err)
	if n := letters.CachedInfo().State.Msgs; n != 3 { // of k7, and of what is garbled and hidden
		t.Errorf("%d dead letters", n)
	}
}

func TestChannelGetsKeysThatItDidNotTake(t *testing.T) {
	t.Parallel()
	l := newTopicLab(t)
	l.reads("a", func(c *channels.Config) { c.From.Keys = "k1" })
	l.work("w")
	for i := range 30 {
		l.push(toTopic(fmt.Sprint("k", i), 1))
	}
	l.outcome("a", "k19", 1)
	l.reads("a", func(c *channels.Config) { c.From.Keys = "k" })
	l.all("a", 30, 1)
	if n := len(l.targets["a"].history()); n != 30 {
		t.Errorf("%d writes for 30 keys", n)
	}
}
