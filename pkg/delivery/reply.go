package delivery

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/events"
)

// mostLines is from how many bytes on a message takes no more acks: far below what a
// broker takes in one message, and some hundred acks.
const mostLines = 64 << 10

// A replyRoom is memory for the next acks.
type replyRoom struct {
	wanted []*wire.Entry
	buffer []byte
}

// A replier sends the acks of a partition's outcomes.
type replier struct {
	js          jetstream.JetStream
	names       events.Names
	channel     string
	topic       string // that the channel reads; "": none
	stream      string
	incarnation wire.Incarnation
	rooms       *sync.Pool // of *replyRoom
}

// send sends the acks of some entries to whoever asked for them: to an inbox
// as it comes, to a named service's subject so that the broker has it. It
// returns when that is so. If it fails, or this worker dies before the progress
// says that they were sent, the next tenure sends them again (guarantee 3).
func (r *replier) send(ctx context.Context, entries []wire.Entry) error {
	room, _ := r.rooms.Get().(*replyRoom)
	if room == nil {
		room = new(replyRoom)
	}
	defer func() {
		clear(room.wanted) // what they refer to may go
		r.rooms.Put(room)
	}()
	room.wanted = r.wanted(room.wanted[:0], entries)
	wanted, buffer := room.wanted, room.buffer[:0]
	var kept []jetstream.PubAckFuture
	for i, first := 0, 0; i < len(wanted); i++ {
		e := wanted[i]
		data, err := e.AppendAck(buffer, r.channel, r.topic)
		if err != nil {
			return fmt.Errorf("send ack: %w", err)
		}
		buffer = data
		if i+1 < len(wanted) && joined(e, wanted[i+1]) && len(data) < mostLines {
			buffer = append(buffer, '\n')
			continue
		}
		future, err := r.one(wanted[first:i+1], data)
		if err != nil {
			return fmt.Errorf("send ack: %w", err)
		}
		if future != nil {
			kept = append(kept, future)
		}
		buffer, first = buffer[:0], i+1
	}
	room.buffer = buffer
	return awaitStored(ctx, kept)
}

// ackAnswer bounds how long the broker may take to say that it has stored acks. Its
// answer may have been lost, with the server that gave it: they are sent again.
const ackAnswer = 10 * time.Second

// awaitStored returns when the broker has stored messages.
func awaitStored(ctx context.Context, futures []jetstream.PubAckFuture) error {
	if len(futures) == 0 {
		return nil
	}
	late := time.NewTimer(ackAnswer)
	defer late.Stop()
	for _, future := range futures {
		select {
		case <-future.Ok():
		case err := <-future.Err():
			return fmt.Errorf("send ack: %w", err)
		case <-late.C:
			return fmt.Errorf("send ack: %w: the broker has not said within %s that it has stored it", events.ErrUnavailable, ackAnswer)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// wanted appends the entries whose ack somebody gets to wanted. Where acks may share
// messages, those for one subject are in a row and in their order.
func (r *replier) wanted(wanted []*wire.Entry, entries []wire.Entry) []*wire.Entry {
	lines := 0
	for i := range entries {
		e := &entries[i]
		if e.ReplyTo == "" || !wire.Final(e.Outcome) || !wire.ReplyAllowed(r.names, e.ReplyTo) {
			continue
		}
		wanted = append(wanted, e)
		if e.ReplyLines {
			lines++
		}
	}
	if lines > 1 {
		slices.SortStableFunc(wanted, func(a, b *wire.Entry) int { return strings.Compare(a.ReplyTo, b.ReplyTo) })
	}
	return wanted
}

// joined reports whether the acks of two entries may be in one message.
func joined(a, b *wire.Entry) bool {
	return a.ReplyLines && b.ReplyLines && a.ReplyTo == b.ReplyTo
}

// one sends data, the acks of some entries with one subject. The future, if any, is
// of a message that the broker has to confirm. data is the caller's again.
func (r *replier) one(entries []*wire.Entry, data []byte) (jetstream.PubAckFuture, error) {
	e := entries[0]
	if !wire.IsServiceAck(r.names, e.ReplyTo) {
		// Nobody can be told if the connection is down; the ledger knows.
		_ = r.js.Conn().Publish(e.ReplyTo, data)
		return nil, nil
	}
	id := r.stream + ":" + r.channel + ":" + r.incarnation.String() + ":" + strconv.FormatUint(e.Sequence, 10) + ":" + string(e.Outcome)
	if n := len(entries); n > 1 {
		id += ":" + strconv.Itoa(n) + ":" + strconv.FormatUint(entries[n-1].Sequence, 10)
	}
	msg := nats.NewMsg(e.ReplyTo)
	msg.Data = bytes.Clone(data) // kept until the broker has answered
	msg.Header.Set(nats.MsgIdHdr, id)
	return r.js.PublishMsgAsync(msg, jetstream.WithStallWait(5*time.Second))
}
