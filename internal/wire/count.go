package wire

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/pkg/events"
)

// A Count is how many messages of a stream match, and when the first of them was
// stored; the zero time if there is none.
type Count struct {
	Messages uint64
	First    time.Time
}

// unreadableMost bounds how many messages with headers that nobody can read are looked
// past.
const unreadableMost = 8

// CountFrom counts the messages of a stream from a sequence on whose subject matches
// a filter. The broker reads one of them; the rest it counts by its index. In a
// cluster a replica may answer, which knows a moment less than the leader. It needs a
// stream that allows direct gets. It fails with what IsUnavailable recognises when nobody
// answers, which goes for a stream that is not there, too.
func CountFrom(ctx context.Context, js jetstream.JetStream, stream, filter string, from uint64) (Count, error) {
	var before Count
	for range unreadableMost {
		c, err := countFrom(ctx, js, stream, filter, max(from, 1))
		if !errors.Is(err, errUnreadable) {
			c.Messages += before.Messages
			if !before.First.IsZero() {
				c.First = before.First
			}
			return c, err
		}
		// A client has sent headers that hide those of the broker.
		msg, err := ReadFromLeader(ctx, js, stream, MessageQuery{NextOn: filter, Sequence: max(from, 1)})
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return before, nil
		}
		if err != nil {
			return before, err
		}
		if before.Messages++; before.First.IsZero() {
			before.First = msg.Time
		}
		from = msg.Sequence + 1
	}
	return before, nil
}

// errUnreadable says that the headers of an answer cannot be read.
var errUnreadable = errors.New("the headers of a message cannot be read")

func countFrom(ctx context.Context, js jetstream.JetStream, stream, filter string, from uint64) (Count, error) {
	req, err := json.Marshal(struct {
		NextOn   string `json:"next_by_subj"`
		Sequence uint64 `json:"seq"`
		Batch    int    `json:"batch"` // makes the answer say how many follow
	}{filter, from, 1})
	if err != nil {
		return Count{}, err
	}
	ctx, cancel := WithDefaultTimeout(ctx)
	defer cancel()
	msg, err := js.Conn().RequestWithContext(ctx, apiPrefix(js.Options())+"DIRECT.GET."+stream, req)
	if errors.Is(err, nats.ErrNoResponders) {
		return Count{}, fmt.Errorf("count the messages of stream %s: %w: nobody answers for it", stream, events.ErrUnavailable)
	}
	if err != nil {
		return Count{}, fmt.Errorf("count the messages of stream %s: %w", stream, err)
	}
	c, err := decodeCount(msg.Header)
	if err != nil {
		return c, fmt.Errorf("count the messages of stream %s: %w", stream, err)
	}
	return c, nil
}

// decodeCount reads the headers of the answer to a direct get of one in a batch. The
// broker's come last: a publisher may have sent headers of the same names.
func decodeCount(h nats.Header) (Count, error) {
	if lastOf(h, jetstream.SequenceHeader) == "" {
		switch status := lastOf(h, headerAnswer); status {
		case "404":
			return Count{}, nil
		case "":
			return Count{}, errUnreadable
		default:
			return Count{}, fmt.Errorf("%w: answer %q", jetstream.ErrInvalidJetStreamResponse, status)
		}
	}
	behind, err := strconv.ParseUint(lastOf(h, numPending), 10, 64)
	first, terr := time.Parse(time.RFC3339Nano, lastOf(h, jetstream.TimeStampHeaer))
	if err := errors.Join(err, terr); err != nil {
		return Count{}, fmt.Errorf("%w: %w", jetstream.ErrInvalidJetStreamResponse, err)
	}
	return Count{Messages: behind + 1, First: first}, nil
}

// numPending is the header in which the broker says how many messages follow.
const numPending = "Nats-Num-Pending"

// lastOf returns the last value of a header: the broker's, where a client has sent one of
// the same name.
func lastOf(h nats.Header, name string) string {
	values := h.Values(name)
	if len(values) == 0 {
		return ""
	}
	return values[len(values)-1]
}

// headerAnswer is the pseudo header in which the client gives the status of an answer
// that is no message.
const headerAnswer = "Status"
