package wire_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/internal/wire"
)

// What the server really says is what is read without package json.
func TestBurst(t *testing.T) {
	p := newPlatform(t)
	stream := jetstream.StreamConfig{Name: "S", Subjects: []string{"s.*"}}
	if _, err := p.JS.CreateStream(t.Context(), stream); err != nil {
		t.Fatal(err)
	}
	burst, err := wire.OpenBurst(p.JS.Conn(), 4)
	if err != nil {
		t.Fatal(err)
	}
	defer burst.Close()
	inbox := ""
	type stored struct {
		number    int
		seq       uint64
		duplicate bool
		err       error
	}
	answer := func(msg *nats.Msg) stored {
		t.Helper()
		if _, err := burst.Send(msg); err != nil {
			t.Fatal(err)
		}
		inbox = msg.Reply[:strings.LastIndexByte(msg.Reply, '.')+1]
		a, err := burst.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		seq, duplicate, err := a.Stored()
		return stored{a.Number, seq, duplicate, err}
	}
	named := func(subject string, header ...string) *nats.Msg {
		msg := nats.NewMsg(subject)
		for i := 0; i < len(header); i += 2 {
			msg.Header.Set(header[i], header[i+1])
		}
		return msg
	}
	if got, want := answer(named("s.a", nats.MsgIdHdr, "1")), (stored{seq: 1}); got != want {
		t.Errorf("stored: %+v", got)
	}
	if got, want := answer(named("s.a", nats.MsgIdHdr, "1")), (stored{number: 1, seq: 1, duplicate: true}); got != want {
		t.Errorf("there before: %+v", got)
	}
	if got := answer(named("s.a", nats.ExpectedLastSubjSeqHdr, "7")); got.number != 2 || !wire.IsWrongSequence(got.err) {
		t.Errorf("another sequence: %+v", got)
	}
	if got := answer(named("nobody.listens")); !errors.Is(got.err, jetstream.ErrNoStreamResponse) {
		t.Errorf("no stream: %+v", got)
	}
	if err := p.JS.Conn().Publish(inbox+"99", []byte("{}")); err != nil { // nobody has asked for it
		t.Fatal(err)
	}
	if got := answer(named("s.b")); got.number != 4 || got.seq != 2 {
		t.Errorf("behind a stray answer: %+v", got)
	}
	if err := p.JS.Conn().ForceReconnect(); err != nil {
		t.Fatal(err)
	}
	if _, err := burst.Next(t.Context()); !errors.Is(err, nats.ErrDisconnected) || burst.Lost() != 5 {
		t.Errorf("cut off: %v, %d lost", err, burst.Lost())
	}
	if got := answer(named("s.c")); got.number != 5 || got.err != nil {
		t.Errorf("after the cut: %+v", got)
	}
}
