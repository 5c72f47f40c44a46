package wire

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// MostLast is how many subjects ReadLastOf takes: the broker answers no more at once.
const MostLast = 1000

// lastBytes is about how much of messages an answer of the broker to ReadLastOf has; what
// is left is asked for again.
const lastBytes = 8 << 20

// ReadLastOf reads the newest message on each of some subjects, as ReadLast does, in one
// request for several megabytes of them. An element of the result is nil where the stream
// has nothing on the subject. Only who may have several answers to a request can use it:
// the owner of the streams.
func ReadLastOf(ctx context.Context, js jetstream.JetStream, stream jetstream.Stream, subjects []string) ([]*jetstream.RawStreamMsg, error) {
	name := stream.CachedInfo().Config.Name
	out := make([]*jetstream.RawStreamMsg, len(subjects))
	places := make(map[string]int, len(subjects))
	for i, subject := range subjects {
		places[subject] = i
	}
	for len(places) > 0 {
		asked := len(places)
		more, err := readLastOf(ctx, js, name, places, func(msg *jetstream.RawStreamMsg) {
			if at, ok := places[msg.Subject]; ok {
				out[at] = msg
				delete(places, msg.Subject)
			}
		})
		if err != nil {
			return nil, fmt.Errorf("read stream %s: %w", name, MarkUnavailable(err))
		}
		if more == 0 {
			return out, nil
		}
		if len(places) < asked {
			continue
		}
		// Headers of a client hide those of the broker.
		for subject, at := range places {
			msg, err := ReadLast(ctx, js, stream, subject)
			if err != nil && !errors.Is(err, jetstream.ErrMsgNotFound) {
				return nil, fmt.Errorf("read stream %s: %w", name, MarkUnavailable(err))
			}
			out[at] = msg
		}
		return out, nil
	}
	return out, nil
}

// readLastOf asks for the subjects that places has, calls each with what can be read, and
// returns how many messages there are besides.
func readLastOf(ctx context.Context, js jetstream.JetStream, stream string, places map[string]int, each func(*jetstream.RawStreamMsg)) (more int, err error) {
	req, err := json.Marshal(struct {
		Last  []string `json:"multi_last"`
		Bytes int      `json:"max_bytes"`
	}{slices.Collect(maps.Keys(places)), lastBytes})
	if err != nil {
		return 0, err
	}
	ctx, cancel := WithDefaultTimeout(ctx)
	defer cancel()
	nc := js.Conn()
	// A message for each subject, and the end. SubscribeSync would make room for 65,536.
	answers := make(chan *nats.Msg, len(places)+1)
	sub, err := nc.ChanSubscribe(nc.NewInbox(), answers)
	if err != nil {
		return 0, err
	}
	defer func() { _ = sub.Unsubscribe() }() // fails only with the connection
	if err := nc.PublishRequest(apiPrefix(js.Options())+"DIRECT.GET."+stream, sub.Subject, req); err != nil {
		return 0, err
	}
	for {
		var msg *nats.Msg
		select {
		case msg = <-answers:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
		if msg == nil {
			return 0, nats.ErrConnectionClosed
		}
		read, err := decodeDirect(msg)
		if errors.Is(err, errUnreadable) {
			more++
			continue
		}
		if err != nil {
			return 0, err
		}
		if read != nil {
			each(read)
			continue
		}
		if lastOf(msg.Header, headerAnswer) == "404" && lastOf(msg.Header, "Description") != "No Results" {
			return more + len(places), nil // one was replaced meanwhile
		}
		left, _ := strconv.Atoi(lastOf(msg.Header, numPending)) // a 404 has none
		return more + left, nil
	}
}

// decodeDirect reads an answer to a direct get. It returns nil for what ends a batch, and
// errUnreadable for a message whose headers cannot be read.
func decodeDirect(m *nats.Msg) (*jetstream.RawStreamMsg, error) {
	subject := lastOf(m.Header, jetstream.SubjectHeader)
	if subject == "" {
		switch status := lastOf(m.Header, headerAnswer); {
		case status == "" || len(m.Data) > 0:
			return nil, errUnreadable
		case status == "204", status == "404":
			return nil, nil //nolint:nilnil // the end
		case status == "503":
			return nil, nats.ErrNoResponders
		default:
			return nil, fmt.Errorf("%w: answer %q", jetstream.ErrInvalidJetStreamResponse, status)
		}
	}
	seq, err := strconv.ParseUint(lastOf(m.Header, jetstream.SequenceHeader), 10, 64)
	at, terr := time.Parse(time.RFC3339Nano, lastOf(m.Header, jetstream.TimeStampHeaer))
	if errors.Join(err, terr) != nil {
		return nil, errUnreadable
	}
	return &jetstream.RawStreamMsg{Subject: subject, Sequence: seq, Header: m.Header, Data: m.Data, Time: at}, nil
}
