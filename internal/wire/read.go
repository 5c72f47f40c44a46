package wire

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/pkg/events"
)

// A MessageQuery says which message of a stream to read: the last one on LastOn;
// else the first one from Sequence on whose subject matches NextOn; else the one
// at Sequence.
type MessageQuery struct {
	LastOn   string `json:"last_by_subj,omitempty"`
	NextOn   string `json:"next_by_subj,omitempty"`
	Sequence uint64 `json:"seq,omitempty"`
}

// ReadFromLeader reads one message from a stream's leader. nats.go reads from any
// replica when the stream allows direct gets, and takes a message without payload
// that has a header called Status for an answer of the server; so this is the
// plain API call. Headers that cannot be read count as none. The errors:
// jetstream.ErrMsgNotFound, ErrUnknownChannel when there is no such stream, or
// what IsUnavailable recognises.
func ReadFromLeader(ctx context.Context, js jetstream.JetStream, stream string, q MessageQuery) (*jetstream.RawStreamMsg, error) {
	req, err := json.Marshal(q)
	if err != nil {
		return nil, err
	}
	ctx, cancel := WithDefaultTimeout(ctx)
	defer cancel()
	reply, err := js.Conn().RequestWithContext(ctx, apiPrefix(js.Options())+"STREAM.MSG.GET."+stream, req)
	if err != nil {
		return nil, err
	}
	msg, err := decodeRead(reply.Data)
	if MeaningOf(err) == NoStream {
		return nil, fmt.Errorf("%w: stream %s is gone", events.ErrUnknownChannel, stream)
	}
	if err != nil && !errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, fmt.Errorf("read from the leader of stream %s: %w", stream, err)
	}
	return msg, err
}

// ReadLast reads the newest message on a subject from any replica of a stream, and from
// its leader where nats.go cannot read it: somebody may have stored headers that are
// none. The errors are those of ReadFromLeader, and nats.ErrNoResponders when the stream
// is gone.
func ReadLast(ctx context.Context, js jetstream.JetStream, stream jetstream.Stream, subject string) (*jetstream.RawStreamMsg, error) {
	msg, err := stream.GetLastMsgForSubject(ctx, subject)
	var decided *jetstream.APIError
	if err == nil || errors.Is(err, jetstream.ErrMsgNotFound) || errors.Is(err, nats.ErrNoResponders) || errors.As(err, &decided) || ctx.Err() != nil {
		return msg, err
	}
	return ReadFromLeader(ctx, js, stream.CachedInfo().Config.Name, MessageQuery{LastOn: subject})
}

// decodeRead reads the answer to $JS.API.STREAM.MSG.GET.
func decodeRead(data []byte) (*jetstream.RawStreamMsg, error) {
	var resp struct {
		Error   *jetstream.APIError `json:"error"`
		Message *struct {
			Subject string    `json:"subject"`
			Seq     uint64    `json:"seq"`
			Header  []byte    `json:"hdrs"`
			Data    []byte    `json:"data"`
			Time    time.Time `json:"time"`
		} `json:"message"`
	}
	rest, payload, err := cutPayload(data)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(rest, &resp); err != nil {
		return nil, err
	}
	switch {
	case resp.Error != nil && resp.Error.ErrorCode == jetstream.JSErrCodeMessageNotFound:
		return nil, jetstream.ErrMsgNotFound
	case resp.Error != nil:
		return nil, resp.Error
	case resp.Message == nil:
		return nil, jetstream.ErrInvalidJetStreamResponse
	}
	m := resp.Message
	msg := &jetstream.RawStreamMsg{Subject: m.Subject, Sequence: m.Seq, Data: m.Data, Time: m.Time}
	if payload != nil {
		msg.Data = payload
	}
	if len(m.Header) > 0 {
		if h, err := nats.DecodeHeadersMsg(m.Header); err == nil {
			msg.Header = h
		}
	}
	return msg, nil
}

// cutPayload takes the message's payload out of an answer as the server writes it, and
// returns both; the payload is nil where there is none. It is in base64 and most of the
// answer, of which encoding/json would look at each byte three times: who asks for a key
// while much is delivered reads many megabytes of the log.
func cutPayload(answer []byte) (rest, payload []byte, err error) {
	before, after, there := bytes.Cut(answer, []byte(`,"data":"`)) // in no subject is a quote that is not escaped
	if !there {
		return answer, nil, nil
	}
	text, after, there := bytes.Cut(after, []byte(`"`))
	if !there {
		return nil, nil, jetstream.ErrInvalidJetStreamResponse
	}
	payload, err = base64.StdEncoding.AppendDecode(nil, text)
	return slices.Concat(before, after), payload, err
}

// apiPrefix returns where the JetStream API listens, with the dot at the end.
func apiPrefix(o jetstream.JetStreamOptions) string {
	switch {
	case o.APIPrefix != "":
		return strings.TrimSuffix(o.APIPrefix, ".") + "."
	case o.Domain != "":
		return "$JS." + o.Domain + ".API."
	default:
		return jetstream.DefaultAPIPrefix
	}
}

// A StreamQuery says which part of a stream to read.
type StreamQuery struct {
	Stream  string
	Subject string    // filter; required
	From    uint64    // first sequence; zero: the beginning, or Since
	Since   time.Time // read from here on, if From is zero
	Until   uint64    // last sequence; zero: the last one when the reading begins
	// HeadersOnly leaves the payloads out. PayloadSize tells how large they are.
	HeadersOnly bool
	// Consumer reads through a consumer, about five times as fast as from the leader.
	// Publishers and gateways may make none.
	Consumer bool
	// Batch is how many messages a reader with a Consumer holds at most; zero: as many as
	// may be large.
	Batch int
}

// PayloadSize returns the size of the payload of a message that was read with
// StreamQuery.HeadersOnly.
func PayloadSize(h nats.Header) int {
	n, err := strconv.Atoi(h.Get(nats.MsgSize))
	if err != nil {
		return 0
	}
	return n
}

const (
	readBatch      = 32  // messages with payload that a reader holds at most
	readBatchHeads = 256 // messages without
	// readerIdle is after how long the server removes a reader that was not
	// closed, because its process ended.
	readerIdle = 30 * time.Second
)

// ReadStream reads a part of a stream in order. Each message comes once, whatever
// its headers say; after an error nothing more comes. What is deleted or expires
// meanwhile may or may not come. It holds a few messages at a time.
//
// Without StreamQuery.Consumer it asks the leader for what is there at that moment: with
// the largest Until, a record that is replaced while others are read still comes.
func ReadStream(ctx context.Context, js jetstream.JetStream, q StreamQuery) iter.Seq2[*jetstream.RawStreamMsg, error] {
	return func(yield func(*jetstream.RawStreamMsg, error) bool) {
		if !q.Consumer {
			r := asker{js: js, q: q}
			if err := r.run(ctx, func(m *jetstream.RawStreamMsg) bool { return yield(m, nil) }); err != nil {
				yield(nil, fmt.Errorf("read stream %s: %w", q.Stream, MarkUnavailable(err)))
			}
			return
		}
		r, err := openReader(ctx, js, q)
		if err != nil {
			yield(nil, fmt.Errorf("read stream %s: %w", q.Stream, MarkUnavailable(err)))
			return
		}
		defer r.close(ctx)
		if err := r.run(ctx, func(m *jetstream.RawStreamMsg) bool { return yield(m, nil) }); err != nil {
			yield(nil, fmt.Errorf("read stream %s: %w", q.Stream, MarkUnavailable(err)))
		}
	}
}

// A reader reads through a consumer of its own, and from the leader what the
// consumer does not give: a message that was lost on the way, or one that the
// client has taken for an answer of the server.
type reader struct {
	js       jetstream.JetStream
	q        StreamQuery
	consumer jetstream.Consumer // nil: there is nothing to read
	batch    int
	next     uint64 // sequence from which on nothing has been given yet
	lastSeen uint64 // consumer sequence of the last message
}

func openReader(ctx context.Context, js jetstream.JetStream, q StreamQuery) (*reader, error) {
	stream, err := js.Stream(ctx, q.Stream)
	if err != nil {
		return nil, err
	}
	if q.Until == 0 {
		q.Until = stream.CachedInfo().State.LastSeq
	}
	r := &reader{js: js, q: q, batch: readBatch, next: max(q.From, 1)}
	if q.Until < r.next {
		return r, nil
	}
	cfg := jetstream.ConsumerConfig{
		FilterSubject: q.Subject, HeadersOnly: q.HeadersOnly,
		AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true, Replicas: 1, InactiveThreshold: readerIdle,
	}
	if q.HeadersOnly {
		r.batch = readBatchHeads
	}
	if q.Batch > 0 {
		r.batch = q.Batch
	}
	switch {
	case q.From == 0 && !q.Since.IsZero():
		since := q.Since
		cfg.DeliverPolicy, cfg.OptStartTime = jetstream.DeliverByStartTimePolicy, &since
	default:
		cfg.DeliverPolicy, cfg.OptStartSeq = jetstream.DeliverByStartSequencePolicy, r.next
	}
	r.consumer, err = stream.CreateConsumer(ctx, cfg)
	if err != nil {
		return nil, err
	}
	info := r.consumer.CachedInfo()
	r.next = max(r.next, info.Delivered.Stream+1) // where Since begins is for the server to say
	if info.NumPending == 0 {
		r.q.Until = 0
	}
	return r, nil
}

// close removes the consumer; if that fails the server does it later.
func (r *reader) close(ctx context.Context) {
	if r.consumer == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	_ = r.js.DeleteConsumer(ctx, r.q.Stream, r.consumer.CachedInfo().Name)
}

// run gives messages until there are no more, or yield wants no more. That there
// are none is for the leader to say: while others remove messages, the pending
// count that comes with each message can be too low by one.
func (r *reader) run(ctx context.Context, yield func(*jetstream.RawStreamMsg) bool) error {
	for r.next <= r.q.Until {
		if err := ctx.Err(); err != nil {
			return err
		}
		// The batch's own error is not looked at: a header that looks like the
		// server's makes one. What counts is what came and what is missing.
		batch, err := r.consumer.FetchNoWait(r.batch)
		if err != nil {
			return err
		}
		came := 0
		for msg := range batch.Messages() {
			came++
			more, err := r.take(ctx, msg, yield)
			if err != nil || !more {
				return err
			}
		}
		if came == 0 {
			more, err := r.one(ctx, r.q.Until, yield)
			if err != nil || !more {
				return err
			}
		}
	}
	return nil
}

// take gives a message of the consumer, and before it what the consumer has left
// out.
func (r *reader) take(ctx context.Context, msg jetstream.Msg, yield func(*jetstream.RawStreamMsg) bool) (bool, error) {
	meta, err := msg.Metadata()
	if err != nil {
		return false, err
	}
	seq := meta.Sequence.Stream
	if meta.Sequence.Consumer != r.lastSeen+1 {
		for r.next < seq {
			more, err := r.one(ctx, min(seq-1, r.q.Until), yield)
			if err != nil || !more {
				return false, err
			}
		}
	}
	r.lastSeen = meta.Sequence.Consumer
	if seq < r.next { // the leader has given it before
		return true, nil
	}
	r.next = seq + 1
	if seq > r.q.Until {
		return false, nil
	}
	return yield(&jetstream.RawStreamMsg{
		Subject: msg.Subject(), Sequence: seq, Header: msg.Headers(), Data: msg.Data(), Time: meta.Timestamp,
	}), nil
}

// one gives the next message from the leader, if there is one up to the sequence
// last. It returns false when there is none up to Until, or none more is wanted.
func (r *reader) one(ctx context.Context, last uint64, yield func(*jetstream.RawStreamMsg) bool) (bool, error) {
	msg, err := ReadFromLeader(ctx, r.js, r.q.Stream, MessageQuery{NextOn: r.q.Subject, Sequence: r.next})
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		r.next = r.q.Until + 1
		return false, nil
	case err != nil:
		return false, err
	case msg.Sequence > r.q.Until:
		r.next = r.q.Until + 1
		return false, nil
	case msg.Sequence > last: // the consumer gives that one itself
		r.next = last + 1
		return true, nil
	}
	r.next = msg.Sequence + 1
	if msg.Time.Before(r.q.Since) && r.q.From == 0 {
		return true, nil
	}
	return yield(trim(msg, r.q)), nil
}

// trim leaves out the payload if only headers are wanted.
func trim(msg *jetstream.RawStreamMsg, q StreamQuery) *jetstream.RawStreamMsg {
	if q.HeadersOnly {
		if msg.Header == nil {
			msg.Header = nats.Header{}
		}
		msg.Header.Set(nats.MsgSize, strconv.Itoa(len(msg.Data)))
		msg.Data = nil
	}
	return msg
}
