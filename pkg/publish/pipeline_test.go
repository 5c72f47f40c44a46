package publish_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/publish"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// versions gives the versions 1 to n of each of some keys, all keys' first
// versions first.
func versions(channel string, keys, n int) iter.Seq[events.Update] {
	return func(yield func(events.Update) bool) {
		for v := range n {
			for k := range keys {
				u := events.Update{
					Channel: channel, Key: fmt.Sprintf("k%d", k), Version: versioning.Must(versioning.Number(int64(v + 1))), Payload: []byte("x"),
				}
				if !yield(u) {
					return
				}
			}
		}
	}
}

// The receipts come in the order of the updates, and the stream has each key's
// updates in order, also with more on their way than there are keys.
func TestPublishAllKeepsTheOrder(t *testing.T) {
	p := newPlatform(t)
	const keys, n = 7, 20
	i := 0
	for receipt, err := range p.publisher(t).PublishAll(t.Context(), versions("every", keys, n), 16) {
		if err != nil {
			t.Fatal(err)
		}
		if got, _ := receipt.Version.Int64(); receipt.Key != fmt.Sprintf("k%d", i%keys) || got != int64(i/keys+1) || receipt.Sequence == 0 || receipt.Duplicate {
			t.Fatalf("receipt %d is %+v", i, receipt)
		}
		i++
	}
	if i != keys*n {
		t.Errorf("%d receipts came", i)
	}
	stream, err := p.JS.Stream(t.Context(), wire.UpdateStream(p.names, events.ToChannel("every")))
	if err != nil {
		t.Fatal(err)
	}
	last := map[string]int64{}
	for seq := range uint64(keys * n) {
		msg, err := stream.GetMsg(t.Context(), seq+1)
		if err != nil {
			t.Fatal(err)
		}
		key := msg.Header.Get(events.HeaderSubject)
		got, _ := testkit.Version(t, msg.Header.Get(events.HeaderVersion)).Int64()
		if got != last[key]+1 {
			t.Errorf("key %s: version %d was stored after %d", key, got, last[key])
		}
		last[key] = got
	}
}

// An update that is refused does not hold up others, and its key goes on from
// what is there.
func TestPublishAllGoesOnBehindARefusal(t *testing.T) {
	p := newPlatform(t)
	updates := []events.Update{
		of(t, "latest", "a", "7a"), of(t, "latest", "a", "6a"),
		{Channel: "latest", Key: "b"},
		of(t, "latest", "a", "7b"),
		of(t, "latest", "b", "1a"), of(t, "latest", "a", "8a"), of(t, "latest", "a", "8a"), of(t, "other", "a", "1a"),
	}
	var got []string
	for receipt, err := range p.publisher(t).PublishAll(t.Context(), slices.Values(updates), 3) {
		switch {
		case errors.Is(err, events.ErrInvalidUpdate):
			got = append(got, "invalid")
		case errors.Is(err, events.ErrUnknownChannel):
			got = append(got, "unknown")
		default:
			got = append(got, verdictOf(receipt, err))
		}
	}
	if want := []string{"stored", "stale", "invalid", "conflict", "stored", "stored", "duplicate", "unknown"}; !slices.Equal(got, want) {
		t.Errorf("= %v, want %v", got, want)
	}
}

// Another publisher that is faster makes a remembered sequence wrong; the guard
// then decides against what that one has stored.
func TestPublishAllFindsWhatOthersPublished(t *testing.T) {
	p := newPlatform(t)
	mine, other := p.publisher(t), p.publisher(t)
	one := func(u events.Update) (receipt events.Receipt, err error) {
		for receipt, err = range mine.PublishAll(t.Context(), slices.Values([]events.Update{u}), 1) {
		}
		return receipt, err
	}
	for _, channel := range []string{"latest", "every"} {
		for _, s := range []struct{ before, theirs, mine, want string }{
			{"1a", "2a", "3a", "stored"}, {"4a", "6a", "5a", "stale"}, {"7a", "8a", "8a", "duplicate"}, {"9a", "10b", "10a", "conflict"},
		} {
			if _, err := one(of(t, channel, "k", s.before)); err != nil && channel == "latest" && s.before == "1a" {
				t.Fatal(err)
			}
			if _, err := other.Publish(t.Context(), of(t, channel, "k", s.theirs)); err != nil {
				t.Fatal(err)
			}
			if got := verdictOf(one(of(t, channel, "k", s.mine))); got != s.want {
				t.Errorf("%s: %s after their %s: %s, want %s", channel, s.mine, s.theirs, got, s.want)
			}
		}
	}
}

// Leaving the loop waits for what is on its way and asks for no more.
func TestPublishAllCanBeLeft(t *testing.T) {
	p := newPlatform(t)
	asked := 0
	updates := func(yield func(events.Update) bool) {
		for u := range versions("every", 100, 100) {
			asked++
			if !yield(u) {
				return
			}
		}
	}
	for _, err := range p.publisher(t).PublishAll(t.Context(), updates, 8) {
		if err != nil {
			t.Error(err)
		}
		break
	}
	if asked != 8 {
		t.Errorf("%d updates were asked for, want 8", asked)
	}
	stream, err := p.JS.Stream(t.Context(), wire.UpdateStream(p.names, events.ToChannel("every")))
	if err != nil {
		t.Fatal(err)
	}
	if got := stream.CachedInfo().State.Msgs; got != 8 {
		t.Errorf("the stream has %d updates, want the 8 that were on their way", got)
	}
}

func TestPublishAllWithoutBroker(t *testing.T) {
	p := newPlatform(t)
	pub := p.publisher(t)
	for _, err := range pub.PublishAll(t.Context(), versions("latest", 5, 2), 4) {
		if err != nil {
			t.Fatal(err)
		}
	}
	p.Stop(t)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	later := func(yield func(events.Update) bool) {
		for u := range versions("latest", 6, 1) { // five remembered keys and a new one
			u.Version = testkit.Version(t, "9")
			if !yield(u) {
				return
			}
		}
	}
	n := 0
	for _, err := range pub.PublishAll(ctx, later, 4) {
		if n++; !errors.Is(err, events.ErrUnavailable) {
			t.Errorf("update %d: %v, want ErrUnavailable", n, err)
		}
	}
	p.Start(t)
	for _, err := range p.publisher(t).PublishAll(t.Context(), later, 4) {
		if err != nil {
			t.Errorf("after the broker is back: %v", err)
		}
	}
}

// What is on its way when the connection breaks is not answered: it is said at
// once, and published again it is stored, or was.
func TestPublishAllWhileTheConnectionBreaks(t *testing.T) {
	p := newPlatform(t)
	pub := p.publisher(t)
	const keys, n = 50, 20
	for _, err := range pub.PublishAll(t.Context(), versions("every", keys, 1), 16) { // from then on heads are remembered
		if err != nil {
			t.Fatal(err)
		}
	}
	again := slices.Collect(versions("every", keys, n))
	for round := 0; len(again) > 0; round++ {
		if round == 10 {
			t.Fatalf("%d updates are not stored after %d rounds", len(again), round)
		}
		var left []events.Update
		i := 0
		for _, err := range pub.PublishAll(t.Context(), slices.Values(again), 64) {
			switch {
			case errors.Is(err, events.ErrUnavailable):
				left = append(left, again[i])
			case err != nil && !errors.Is(err, events.ErrStale): // a later one was stored meanwhile
				t.Fatal(err)
			}
			if i++; i%300 == 0 && round < 3 {
				if err := p.JS.Conn().ForceReconnect(); err != nil {
					t.Fatal(err)
				}
			}
		}
		again = left
	}
	stream, err := p.JS.Stream(t.Context(), wire.UpdateStream(p.names, events.ToChannel("every")))
	if err != nil {
		t.Fatal(err)
	}
	for k := range keys {
		msg, err := stream.GetLastMsgForSubject(t.Context(), wire.StoredUpdate(p.names, events.ToChannel("every"), fmt.Sprintf("k%d", k)))
		if err != nil {
			t.Fatal(err)
		}
		if got := msg.Header.Get(events.HeaderVersion); got != fmt.Sprint(n) {
			t.Errorf("key k%d ends with version %s", k, got)
		}
	}
}

// A version that was not answered holds back those behind it: published again where it
// failed, it is stored before them, and none of a channel that keeps every version is
// skipped.
func TestPublishAllHoldsBackBehindAFailure(t *testing.T) {
	p := newPlatform(t)
	answers := &losing{broker: p.Server}
	js, err := jetstream.New(p.Connect(t, nats.InProcessServer(answers)))
	if err != nil {
		t.Fatal(err)
	}
	pub, err := publish.New(t.Context(), js, p.names)
	if err != nil {
		t.Fatal(err)
	}
	const keys, n = 5, 200
	all := slices.Collect(versions("every", keys, n))
	i, failed := 0, 0
	for _, err := range pub.PublishAll(t.Context(), slices.Values(all), 64) {
		for ; errors.Is(err, events.ErrUnavailable); failed++ {
			_, err = pub.Publish(t.Context(), all[i])
		}
		if err != nil {
			t.Fatalf("%s, version %s: %v", all[i].Key, all[i].Version, err)
		}
		if i++; i%40 == 0 && failed < 5 {
			answers.lose.Store(true)
		}
	}
	if failed == 0 {
		t.Error("nothing failed: the test shows nothing")
	}
	stream, err := p.JS.Stream(t.Context(), wire.UpdateStream(p.names, events.ToChannel("every")))
	if err != nil {
		t.Fatal(err)
	}
	if got := stream.CachedInfo().State.LastSeq; got != keys*n {
		t.Errorf("%d updates are stored, want %d", got, keys*n)
	}
}

// losing connects to a broker and, when told to, loses what the broker says next, and the
// connection with it: what is on its way then is stored and not answered.
type losing struct {
	broker nats.InProcessConnProvider
	lose   atomic.Bool
}

func (l *losing) InProcessConn() (net.Conn, error) {
	conn, err := l.broker.InProcessConn()
	return &losingConn{Conn: conn, lose: &l.lose}, err
}

type losingConn struct {
	net.Conn
	lose *atomic.Bool
}

func (c *losingConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err == nil && c.lose.CompareAndSwap(true, false) {
		return 0, errors.Join(io.ErrUnexpectedEOF, c.Close())
	}
	return n, err
}

// An update that was taken just before the caller heard that the one before it, of the same
// key, had failed was sent all the same, if the two were as far apart as there may be in
// flight: published again, the first one was stale, and its version missing.
func TestPublishAllHoldsBackWhatIsFarApart(t *testing.T) {
	p := newPlatform(t)
	answers := &losing{broker: p.Server}
	js, err := jetstream.New(p.Connect(t, nats.InProcessServer(answers)))
	testkit.Must(t, err)
	pub, err := publish.New(t.Context(), js, p.names)
	testkit.Must(t, err)
	const apart = 16
	_, err = pub.Publish(t.Context(), of(t, "every", "k", "1a")) // it is remembered
	testkit.Must(t, err)
	var failed error
	updates := func(yield func(events.Update) bool) {
		answers.lose.Store(true)
		if !yield(of(t, "every", "k", "2a")) {
			return
		}
		for i := range apart - 1 {
			if !yield(of(t, "every", fmt.Sprint("other-", i), "1a")) {
				return
			}
		}
		if failed == nil { // whoever has heard of a failure gives no more of its key
			yield(of(t, "every", "k", "3a"))
		}
	}
	results := map[int]error{}
	i := 0
	for _, err := range pub.PublishAll(t.Context(), updates, apart) {
		if results[i] = err; i == 0 {
			failed = err
		}
		i++
	}
	if failed == nil {
		t.Fatal("the first one did not fail: the test shows nothing")
	}
	if err, sent := results[apart]; sent && err == nil {
		t.Error("version 3 was published although version 2 had failed")
	}
}
