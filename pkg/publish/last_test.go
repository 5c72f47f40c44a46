package publish_test

import (
	"errors"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/internal/wire/wiretest"
	"github.com/hms-utl/extsync/pkg/events"
)

// The last message of the key cannot be read; a newer version waits before it.
func TestGuardBehindWhatCannotBeRead(t *testing.T) {
	for name, raw := range map[string]func(*nats.Msg){
		"malformed":    func(m *nats.Msg) { m.Header.Set(events.HeaderVersion, "x") },
		"another kind": func(m *nats.Msg) { m.Header.Set(events.HeaderVersion, "2026-11-28T12:00:00Z") },
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlatform(t)
			if _, err := p.publisher(t).Publish(t.Context(), of(t, "every", "k", "3a")); err != nil {
				t.Fatal(err)
			}
			e := wiretest.Entry(t, "3a", events.Delivered)
			e.Key = "k"
			p.settle(t, "every", e)
			if _, err := p.publisher(t).Publish(t.Context(), of(t, "every", "k", "5a")); err != nil {
				t.Fatal(err)
			}
			m := nats.NewMsg(p.names.Update(events.ToChannel("every"), "k"))
			m.Data = []byte("{}")
			raw(m)
			if _, err := p.JS.PublishMsg(t.Context(), m); err != nil {
				t.Fatal(err)
			}
			_, err := p.publisher(t).Publish(t.Context(), of(t, "every", "k", "4a"))
			if !errors.Is(err, events.ErrStale) {
				t.Errorf("version 4 behind 5: %v, want ErrStale", err)
			}
		})
	}
}

// What cannot be read lies behind newer versions: it is stepped over, without reading all
// that lies before it.
func TestGuardLooksBehindManyThatCannotBeRead(t *testing.T) {
	p := newPlatform(t)
	pub := p.publisher(t)
	const many = 300
	for n := range many {
		u := of(t, "every", "k", "1a")
		u.Version = testkit.Number(int64(n + 1))
		_, err := pub.Publish(t.Context(), u)
		testkit.Must(t, err)
	}
	for range 2 {
		_, err := p.JS.Publish(t.Context(), p.names.Update(events.ToChannel("every"), "k"), []byte("rubbish"))
		testkit.Must(t, err)
	}
	asked := make(chan *nats.Msg, many)
	sub, err := p.Conn.ChanSubscribe("$JS.API.STREAM.MSG.GET."+wire.UpdateStream(p.names, events.ToChannel("every")), asked)
	testkit.Must(t, err)
	defer func() { _ = sub.Unsubscribe() }()
	other := of(t, "every", "k", "1b")
	other.Version = testkit.Number(many - 1)
	if _, err := p.publisher(t).Publish(t.Context(), other); !errors.Is(err, events.ErrStale) {
		t.Errorf("an older version: %v, want %v", err, events.ErrStale)
	}
	next := of(t, "every", "k", "1a")
	next.Version, next.Base = testkit.Number(many+1), testkit.Number(many)
	if _, err := p.publisher(t).Publish(t.Context(), next); err != nil {
		t.Errorf("the next version: %v", err)
	}
	if len(asked) > 20 {
		t.Errorf("%d messages were read", len(asked))
	}
}

// A client that copies the headers that a replica gave out stores a place that is another's:
// the replica's next answer tells that one. The right base is accepted all the same.
func TestGuardWithAPlaceThatIsAnothers(t *testing.T) {
	p := newPlatform(t)
	pub := p.publisher(t)
	for _, s := range []string{"1a", "2a"} {
		_, err := pub.Publish(t.Context(), of(t, "every", "k", s))
		testkit.Must(t, err)
	}
	msg, err := wire.Encode(p.names, of(t, "every", "k", "3a"))
	testkit.Must(t, err)
	msg.Header.Set("Nats-Sequence", "1")
	_, err = p.JS.PublishMsg(t.Context(), msg)
	testkit.Must(t, err)
	next := of(t, "every", "k", "4a")
	next.Base = testkit.Version(t, "3")
	if _, err := p.publisher(t).Publish(t.Context(), next); err != nil {
		t.Error(err)
	}
}
