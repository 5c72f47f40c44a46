package wire

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/pkg/events"
)

// manyAtOnce is how many questions ReadLastFromLeader has on their way.
const manyAtOnce = 256

// ReadLastFromLeader reads the newest message on each of some subjects from a stream's leader,
// many requests on their way side by side. An element of the result is nil where the stream
// has nothing on the subject. It fails with what IsUnavailable recognises, also when the
// connection broke meanwhile.
func ReadLastFromLeader(ctx context.Context, js jetstream.JetStream, stream string, subjects []string) ([]*jetstream.RawStreamMsg, error) {
	out := make([]*jetstream.RawStreamMsg, len(subjects))
	if len(subjects) == 0 {
		return out, nil
	}
	fail := func(err error) ([]*jetstream.RawStreamMsg, error) {
		return nil, fmt.Errorf("read from the leader of stream %s: %w", stream, MarkUnavailable(err))
	}
	ctx, cancel := WithDefaultTimeout(ctx)
	defer cancel()
	burst, err := OpenBurst(js.Conn(), min(len(subjects), manyAtOnce))
	if err != nil {
		return fail(err)
	}
	defer burst.Close()
	api := apiPrefix(js.Options()) + "STREAM.MSG.GET." + stream
	for sent, answered := 0, 0; answered < len(subjects); answered++ {
		for ; sent < len(subjects) && sent-answered < manyAtOnce; sent++ {
			req, err := json.Marshal(MessageQuery{LastOn: subjects[sent]})
			if err == nil {
				_, err = burst.Send(&nats.Msg{Subject: api, Data: req})
			}
			if err != nil {
				return fail(err)
			}
		}
		a, err := burst.Next(ctx)
		if err != nil {
			return fail(err)
		}
		if len(a.Data) == 0 {
			return fail(nats.ErrNoResponders)
		}
		msg, err := decodeRead(a.Data)
		if err != nil && !errors.Is(err, jetstream.ErrMsgNotFound) {
			return fail(err)
		}
		out[a.Number] = msg
	}
	return out, nil
}

// A ChannelKey names a key of a channel; Encoded is its encoded form.
type ChannelKey struct{ Channel, Encoded string }

// GetMany is GetEncoded for many keys, in few round trips. A key without a record has the zero
// Record.
func (l *Ledger) GetMany(ctx context.Context, keys []ChannelKey) ([]Record, error) {
	subjects := make([]string, len(keys))
	for i, k := range keys {
		if err := events.CheckChannel(k.Channel); err != nil {
			return nil, err
		}
		subjects[i] = LedgerSubject(l.names, k.Channel, k.Encoded)
	}
	found, err := ReadLastFromLeader(ctx, l.ids.js, KVStream(LedgerBucket(l.names)), subjects)
	if err != nil {
		return nil, fmt.Errorf("read the ledger: %w", err)
	}
	out := make([]Record, len(keys))
	for i, msg := range found {
		if msg == nil || len(msg.Data) == 0 { // a tombstone
			continue
		}
		r, err := DecodeRecord(msg.Data)
		if err != nil {
			return nil, err
		}
		ours, err := l.Owns(ctx, keys[i].Channel, r.ChannelID)
		if err != nil {
			return nil, err
		}
		if ours {
			out[i] = r
		}
	}
	return out, nil
}
