package publish_test

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/internal/wire/wiretest"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

func TestRequest(t *testing.T) {
	p := newPlatform(t)
	// A worker that delivers nothing but answers.
	worker, err := p.Conn.Subscribe("sync.updates.latest.*", func(m *nats.Msg) {
		u, err := wire.Decode(p.names, wire.StoredUpdate(p.names, events.ToChannel("latest"), m.Subject[len("sync.updates.latest."):]), m.Header, m.Data)
		if err != nil {
			t.Error(err)
			return
		}
		s := events.Settlement{Version: u.Version, Digest: u.Digest(), Outcome: events.Delivered, At: time.Now()}
		data, err := json.Marshal(wire.NewAck("latest", u.Key, s))
		if err != nil || !wire.ReplyAllowed(p.names, u.ReplyTo) {
			t.Errorf("reply to %q: %v", u.ReplyTo, err)
			return
		}
		for _, noise := range [][]byte{[]byte("garbage"), []byte(`{"f":1,"version":"1","outcome":"delivered","at":"2024-01-01T00:00:00Z"}`), data, data} {
			if err := p.Conn.Publish(u.ReplyTo, noise); err != nil {
				t.Error(err)
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = worker.Unsubscribe() }()
	u := of(t, "latest", "a.b", "7a")
	receipt, ack, err := p.publisher(t).Request(t.Context(), u)
	if err != nil || receipt.Sequence == 0 || ack.Outcome != events.Delivered || ack.Version != u.Version || ack.Key != "a.b" {
		t.Errorf("Request = %+v, %+v, %v", receipt, ack, err)
	}
}

func TestRequestIsSettledByANewerVersion(t *testing.T) {
	p := newPlatform(t)
	stored := make(chan struct{}, 1)
	sub, err := p.Conn.Subscribe("sync.updates.latest.*", func(*nats.Msg) { stored <- struct{}{} })
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = sub.Unsubscribe() }()
	if err := p.Conn.Flush(); err != nil {
		t.Fatal(err)
	}
	type result struct {
		ack events.Ack
		err error
	}
	results := make(chan result, 1)
	pub := p.publisher(t)
	u := of(t, "latest", "k", "7a")
	go func() {
		_, ack, err := pub.Request(t.Context(), u)
		results <- result{ack, err}
	}()
	<-stored
	p.settle(t, "latest", wiretest.Entry(t, "6a", events.Delivered)) // says nothing of 7
	p.settle(t, "latest", wiretest.Entry(t, "8a", wire.Retrying))    // not final
	p.settle(t, "latest", wiretest.Entry(t, "8a", events.Delivered))
	got := <-results
	if got.err != nil || got.ack.Outcome != events.Superseded || got.ack.By != testkit.Version(t, "8") || got.ack.Version != u.Version {
		t.Errorf("= %+v, %v", got.ack, got.err)
	}
}

// A record that was written is heard of at most once, and the ledger knows all the
// same.
func TestRequestEndsThoughNothingWasHeard(t *testing.T) {
	p := newPlatform(t)
	p.hush(t)
	stored := make(chan struct{}, 1)
	sub, err := p.Conn.Subscribe("sync.updates.latest.*", func(*nats.Msg) { stored <- struct{}{} })
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = sub.Unsubscribe() }()
	if err := p.Conn.Flush(); err != nil {
		t.Fatal(err)
	}
	pub := p.publisher(t)
	u := of(t, "latest", "k", "7a")
	outcome := make(chan events.Outcome, 1)
	go func() {
		_, ack, _ := pub.Request(t.Context(), u) // no ack has no outcome
		outcome <- ack.Outcome
	}()
	<-stored
	p.settle(t, "latest", wiretest.Entry(t, "8a", events.Delivered))
	if got := <-outcome; got != events.Superseded {
		t.Errorf("= %q", got)
	}
}

// Eight versions are settled before the ledger is written: it lists those, and of the one
// that was asked for says that it was superseded. Its ack says what it was.
func TestRequestHearsTheAckThatIsKeptForAService(t *testing.T) {
	p := newPlatform(t)
	p.hush(t)
	stored := make(chan struct{}, 1)
	sub, err := p.Conn.Subscribe("sync.updates.latest.*", func(*nats.Msg) { stored <- struct{}{} })
	testkit.Must(t, err)
	defer func() { _ = sub.Unsubscribe() }()
	testkit.Must(t, p.Conn.Flush())
	pub := p.publisher(t)
	u := of(t, "latest", "k", "1a")
	u.ReplyTo, err = p.names.ServiceAck("portal", "request-1")
	testkit.Must(t, err)
	acks := make(chan events.Ack, 1)
	go func() {
		_, ack, _ := pub.Request(t.Context(), u) // no ack has no outcome
		acks <- ack
	}()
	<-stored
	settled := wiretest.Entry(t, "1a", events.Delivered)
	data, err := json.Marshal(wire.NewAck("latest", "k", settled.Settlement))
	testkit.Must(t, err)
	_, err = p.JS.Publish(t.Context(), u.ReplyTo, data)
	testkit.Must(t, err)
	for v := 2; v < 2+wire.RecentMax; v++ {
		p.settle(t, "latest", wiretest.Entry(t, strconv.Itoa(v)+"a", events.Delivered))
	}
	if got := <-acks; got.Outcome != events.Delivered || got.Version != u.Version {
		t.Errorf("%+v", got)
	}
}

func TestRequestWithoutWorker(t *testing.T) {
	p := newPlatform(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second) // it is stored by then
	defer cancel()
	receipt, _, err := p.publisher(t).Request(ctx, of(t, "latest", "k", "7a"))
	if !errors.Is(err, events.ErrNoAck) || receipt.Sequence == 0 {
		t.Errorf("= %+v, %v, want a receipt and ErrNoAck", receipt, err)
	}
	if _, _, err := p.publisher(t).Request(t.Context(), of(t, "latest", "", "7a")); !errors.Is(err, events.ErrInvalidUpdate) {
		t.Errorf("without a key: %v", err)
	}
}

// A duplicate's ack is the one that was there before anybody listened.
func TestOutcomeAfterARestart(t *testing.T) {
	p := newPlatform(t)
	u := of(t, "latest", "k", "7a")
	if _, err := p.publisher(t).Publish(t.Context(), u); err != nil {
		t.Fatal(err)
	}
	if _, err := p.publisher(t).Outcome(t.Context(), "latest", "k", u.Tag()); !errors.Is(err, events.ErrNoRecord) {
		t.Errorf("before the outcome: %v, want ErrNoRecord", err)
	}
	p.settle(t, "latest", wire.Entry{Key: "k", Settlement: events.Settlement{
		Version: u.Version, Digest: u.Digest(), Outcome: events.DeadLettered, Code: "400", At: wiretest.Noon(),
	}})
	p.Stop(t)
	p.Start(t)
	pub := p.publisher(t)
	for name, tag := range map[string]versioning.Tag{"by content": u.Tag(), "by version": {Version: u.Version}} {
		ack, err := pub.Outcome(t.Context(), "latest", "k", tag)
		if err != nil || ack.Outcome != events.DeadLettered || ack.Code != "400" || !ack.At.Equal(wiretest.Noon()) {
			t.Errorf("%s: %+v, %v", name, ack, err)
		}
	}
	receipt, ack, err := pub.Request(t.Context(), u)
	if err != nil || !receipt.Duplicate || ack.Outcome != events.DeadLettered {
		t.Errorf("Request again = %+v, %+v, %v", receipt, ack, err)
	}
}

// In every mode a settled update has left the stream before the ledger shows it.
// The broker still knows it by its id.
func TestRepeatWhileTheLedgerIsBehind(t *testing.T) {
	p := newPlatform(t)
	u := of(t, "every", "k", "7a")
	first, err := p.publisher(t).Publish(t.Context(), u)
	if err != nil {
		t.Fatal(err)
	}
	p.forget(t, "every")
	again, err := p.publisher(t).Publish(t.Context(), u)
	if err != nil || !again.Duplicate || again.Sequence != first.Sequence {
		t.Errorf("= %+v, %v, want a duplicate of %d", again, err, first.Sequence)
	}
	stream, err := p.JS.Stream(t.Context(), wire.UpdateStream(p.names, events.ToChannel("every")))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.GetLastMsgForSubject(t.Context(), wire.StoredUpdate(p.names, events.ToChannel("every"), "k")); !errors.Is(err, jetstream.ErrMsgNotFound) {
		t.Errorf("it was stored twice: %v", err)
	}
}
