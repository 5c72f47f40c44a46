package events_test

import (
	"errors"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/hms-utl/extsync/internal/testkit"
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
			e := entry(t, "3a", events.Delivered)
			e.Key = "k"
			p.settle(t, "every", e)
			if _, err := p.publisher(t).Publish(t.Context(), of(t, "every", "k", "5a")); err != nil {
				t.Fatal(err)
			}
			m := nats.NewMsg(p.names.Update("every", "k"))
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

// Replays of an old version lie behind newer ones: they are stepped over, without reading
// all that lies before them. Whoever stored them kept the headers as a replica gave them
// out, with the place of the first: a replica's answer then tells that.
func TestGuardBehindReplays(t *testing.T) {
	p := newPlatform(t)
	pub := p.publisher(t)
	const many = 300
	for n := range many {
		u := of(t, "every", "k", "1a")
		u.Version = testkit.Number(int64(n + 1))
		_, err := pub.Publish(t.Context(), u)
		testkit.Must(t, err)
	}
	stream, err := p.JS.Stream(t.Context(), p.names.UpdateStream("every"))
	testkit.Must(t, err)
	first, err := stream.GetMsg(t.Context(), 1)
	testkit.Must(t, err)
	for _, unique := range []string{"x", "y"} {
		m := nats.NewMsg(p.names.Update("every", "k"))
		m.Data = first.Data
		for name, values := range first.Header {
			if name != nats.ExpectedLastSubjSeqHdr {
				m.Header[name] = values
			}
		}
		id := first.Header.Get(nats.MsgIdHdr) + "/replay/" + unique
		if !events.IsReplay(id) {
			t.Fatalf("%s is no replay", id)
		}
		m.Header[nats.MsgIdHdr] = []string{id}
		_, err := p.JS.PublishMsg(t.Context(), m)
		testkit.Must(t, err)
	}
	asked := make(chan *nats.Msg, many)
	sub, err := p.Conn.ChanSubscribe("$JS.API.STREAM.MSG.GET."+p.names.UpdateStream("every"), asked)
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
