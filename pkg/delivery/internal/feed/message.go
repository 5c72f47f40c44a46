package feed

import (
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// A delivery is what a consumer says of a message.
type delivery struct {
	number    uint64 // among all that the consumer has sent
	seq       uint64 // in the stream
	published time.Time
}

// deliveryOf reads it from the message's reply subject. The client does so, too, but
// its way to do it takes as long as decoding the update.
func deliveryOf(msg jetstream.Msg) (d delivery, err error) {
	// $JS.ACK.<stream>.<consumer>.<times>.<sequence>.<number>.<time>.<left>
	const fields = 9
	rest := msg.Reply()
	if strings.HasPrefix(rest, "$JS.ACK.") && strings.Count(rest, ".") == fields-1 {
		var last [fields]string
		for i := range last {
			last[i], rest, _ = strings.Cut(rest, ".")
		}
		var published int64
		var err1, err2, err3 error
		d.seq, err1 = strconv.ParseUint(last[5], 10, 64)
		d.number, err2 = strconv.ParseUint(last[6], 10, 64)
		published, err3 = strconv.ParseInt(last[7], 10, 64)
		d.published = time.Unix(0, published)
		return d, errors.Join(err1, err2, err3)
	}
	meta, err := msg.Metadata() // it knows the longer forms
	if err != nil {
		return d, err
	}
	return delivery{number: meta.Sequence.Consumer, seq: meta.Sequence.Stream, published: meta.Timestamp}, nil
}
