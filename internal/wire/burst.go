package wire

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// A Burst sends messages and requests to the broker, many of them on their way side
// by side, and takes the answers from one inbox, by number: a future of the client
// for each message costs more than all the rest of publishing it (docs/adr/0024).
// It does not send again what nobody has answered. One goroutine at a time may use
// it.
type Burst struct {
	nc      *nats.Conn
	inbox   string
	answers chan *nats.Msg
	sub     *nats.Subscription
	cut     chan nats.Status // the connection broke
	sent    int
	// Of what was sent before lost, nothing more is answered; told of it so far.
	lost, told int
}

// An Answer is what came back for one message.
type Answer struct {
	Number int // of the message, as Send returned it
	Data   []byte
}

// OpenBurst returns a burst with up to most messages on their way; if they are
// more, answers may be lost. Close ends it.
func OpenBurst(nc *nats.Conn, most int) (*Burst, error) {
	b := &Burst{nc: nc, inbox: nc.NewInbox() + ".", answers: make(chan *nats.Msg, most)}
	var err error
	if b.sub, err = nc.ChanSubscribe(b.inbox+"*", b.answers); err != nil {
		return nil, err
	}
	b.cut = nc.StatusChanged(nats.RECONNECTING, nats.CLOSED)
	return b, nil
}

// Close ends a burst; answers that come later are lost.
func (b *Burst) Close() {
	_ = b.sub.Unsubscribe() // fails only with the connection
	b.nc.RemoveStatusListener(b.cut)
}

// Send sends a message and returns its number: they count from 0. It sets the
// message's Reply. Nothing of the message is used after it has returned.
func (b *Burst) Send(msg *nats.Msg) (int, error) {
	select {
	case <-b.cut:
		b.lost = b.sent
	default:
	}
	msg.Reply = b.inbox + strconv.Itoa(b.sent)
	if err := b.nc.PublishMsg(msg); err != nil {
		return 0, err
	}
	b.sent++
	return b.sent - 1, nil
}

// Next waits for an answer. It fails with nats.ErrDisconnected, once, when the
// connection broke: see Lost.
func (b *Burst) Next(ctx context.Context) (Answer, error) {
	for {
		if a, ok := b.Waiting(); ok {
			return a, nil
		}
		if b.told < b.lost {
			b.told = b.lost
			return Answer{}, nats.ErrDisconnected
		}
		select {
		case m := <-b.answers:
			if a, ok := b.read(m); ok {
				return a, nil
			}
		case <-b.cut:
			b.lost = b.sent
		case <-ctx.Done():
			return Answer{}, ctx.Err()
		}
	}
}

// Lost returns the number up to which, without it, no more answers will come: the
// connection broke. The broker may have stored what was sent all the same.
func (b *Burst) Lost() int { return b.lost }

// Waiting returns an answer that has come, if there is one.
func (b *Burst) Waiting() (Answer, bool) {
	for {
		select {
		case m := <-b.answers:
			if a, ok := b.read(m); ok {
				return a, true
			}
		default:
			return Answer{}, false
		}
	}
}

// read returns false for what nobody has asked for.
func (b *Burst) read(m *nats.Msg) (a Answer, ok bool) {
	n, err := strconv.Atoi(m.Subject[min(len(b.inbox), len(m.Subject)):])
	return Answer{Number: n, Data: m.Data}, err == nil && n >= 0 && n < b.sent
}

// Stored reads an answer to a publish: the sequence under which the stream has the
// message, and whether it had one of that id before. The error is a
// *jetstream.APIError, jetstream.ErrNoStreamResponse, or says what is wrong with the
// answer. The usual one is read without package json, which takes longer than all
// the rest.
func (a Answer) Stored() (seq uint64, duplicate bool, err error) {
	if rest, ok := bytes.CutPrefix(a.Data, []byte(`{"stream":"`)); ok {
		if _, number, ok := bytes.Cut(rest, []byte(`","seq":`)); ok {
			if number, ok = bytes.CutSuffix(number, []byte("}")); ok {
				if seq, err := strconv.ParseUint(string(number), 10, 64); err == nil && seq > 0 {
					return seq, false, nil
				}
			}
		}
	}
	if len(a.Data) == 0 { // the client's or the server's word for it: nobody listens
		return 0, false, jetstream.ErrNoStreamResponse
	}
	var ack struct {
		Error     *jetstream.APIError `json:"error"`
		Seq       uint64              `json:"seq"`
		Duplicate bool                `json:"duplicate"`
	}
	if err := json.Unmarshal(a.Data, &ack); err != nil {
		return 0, false, fmt.Errorf("the broker's answer to a publish: %w", err)
	}
	switch {
	case ack.Error != nil:
		return 0, false, ack.Error
	case ack.Seq == 0:
		return 0, false, jetstream.ErrInvalidJSAck
	}
	return ack.Seq, ack.Duplicate, nil
}
