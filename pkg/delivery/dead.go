package delivery

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/delivery/internal/lanes"
	"github.com/hms-utl/extsync/pkg/delivery/internal/parking"
	"github.com/hms-utl/extsync/pkg/delivery/internal/plain"
	"github.com/hms-utl/extsync/pkg/events"
)

// deadRetry is how long an update waits when its dead letter could not be
// stored.
const deadRetry = 2 * time.Second

// letterPatience bounds each question to the broker about a letter.
const letterPatience = 5 * time.Second

// A letterbox stores a tenure's dead letters.
type letterbox struct{ t *tenure }

// store puts the whole update, with why it was given up, where it can be
// looked at and sent again, with the target's response. It returns when the broker has it. The id is that of
// the update in its stream: storing twice leaves one.
func (b letterbox) store(key string, it *lanes.Item, e *wire.Entry, response string) error {
	t := b.t
	name := t.p.r.entry.Config.Name
	if err := b.load(it); err != nil && !errors.Is(err, parking.ErrLost) {
		return err
	}
	t.mu.Lock() // a redelivery may replace the copy
	headers, data := contentOf(it)
	it.Rim.Lettered = t.letters.Note(key) // also if we do not hear that it is stored
	t.mu.Unlock()
	msg := nats.NewMsg(wire.DeadLetter(t.b.names, name, key))
	msg.Data, msg.Header = data, plain.Headers(headers)
	set := func(header, value string) {
		if value != "" {
			msg.Header.Set(header, value)
		}
	}
	set(nats.MsgIdHdr, wire.UpdateStream(t.b.names, events.ToChannel(name))+":"+it.Where().String())
	set(wire.HeaderDeadOutcome, string(e.Outcome))
	set(wire.HeaderDeadReason, e.Message)
	set(wire.HeaderDeadClass, e.Class)
	set(wire.HeaderDeadCode, e.Code)
	set(wire.HeaderDeadResponse, response)
	set(wire.HeaderDeadAttempts, strconv.Itoa(e.Attempts))
	set(wire.HeaderDeadFirst, formatTime(it.Tries.First))
	set(wire.HeaderDeadLast, formatTime(e.At))
	set(wire.HeaderDeadWorker, t.p.r.worker)
	set(wire.HeaderDeadSequence, strconv.FormatUint(it.Seq, 10))
	set(wire.HeaderChannelID, t.p.r.entry.ID)
	if err := t.quotas.letter(t.ctx, wire.StoredSize(msg.Subject, msg.Header, len(msg.Data))); err != nil {
		return fmt.Errorf("dead letter: %w", err)
	}
	ctx, cancel := context.WithTimeout(t.ctx, letterPatience)
	defer cancel()
	if err := b.publish(ctx, msg); err != nil {
		return fmt.Errorf("dead letter: %w", err)
	}
	return nil
}

// load reads the content of a parked update.
func (b letterbox) load(it *lanes.Item) error {
	ctx, cancel := context.WithTimeout(b.t.ctx, letterPatience)
	defer cancel()
	return b.t.contents.load(ctx, it)
}

// dispensable lists the headers of a letter in the order in which it can do
// without them.
var dispensable = [...]string{ //nolint:gochecknoglobals // a constant that the language cannot express as one
	wire.HeaderDeadResponse, wire.HeaderDeadReason, wire.HeaderDeadWorker, wire.HeaderDeadFirst, wire.HeaderDeadClass, wire.HeaderDeadCode,
	wire.HeaderDeadAttempts, wire.HeaderDeadSequence, wire.HeaderDeadOutcome, wire.HeaderDeadLast, wire.HeaderChannelID,
	nats.MsgIdHdr,
}

// publish stores a letter. An update that nearly fills a message leaves no
// room for all that a letter says; then it says less, but the update is kept.
func (b letterbox) publish(ctx context.Context, msg *nats.Msg) error {
	t := b.t
	var ack *jetstream.PubAck
	err := nats.ErrMaxPayload
	for i := 0; errors.Is(err, nats.ErrMaxPayload) && i <= len(dispensable); i++ {
		if i > 0 {
			msg.Header.Del(dispensable[i-1])
		}
		ack, err = t.b.js.PublishMsg(ctx, msg, jetstream.WithRetryAttempts(2))
	}
	if err != nil || !ack.Duplicate {
		return err
	}
	// The broker has had this letter before: from a worker that was killed then.
	// If it was discarded since, it must be stored again.
	counts, err := t.b.letters.Counts(ctx, ack.Sequence)
	if err == nil && !counts {
		msg.Header.Del(nats.MsgIdHdr)
		_, err = t.b.js.PublishMsg(ctx, msg, jetstream.WithRetryAttempts(2))
	}
	return err
}

func formatTime(at time.Time) string {
	if at.IsZero() {
		return ""
	}
	return at.UTC().Format(time.RFC3339Nano)
}
