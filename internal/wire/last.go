package wire

import (
	"context"
	"errors"

	"github.com/nats-io/nats.go/jetstream"
)

// LastUpTo returns the last message of a stream on a subject up to a sequence, as the
// stream's leader has it; nil if there is none. The broker can be asked for the next one
// only: from where there is one, found backwards in growing steps, halving finds the last.
// The errors are those of ReadFromLeader.
func LastUpTo(ctx context.Context, js jetstream.JetStream, stream, subject string, most uint64) (*jetstream.RawStreamMsg, error) {
	next := func(from uint64) (*jetstream.RawStreamMsg, error) {
		msg, err := ReadFromLeader(ctx, js, stream, MessageQuery{NextOn: subject, Sequence: from})
		if errors.Is(err, jetstream.ErrMsgNotFound) || err == nil && msg.Sequence > most {
			return nil, nil //nolint:nilnil // there is none
		}
		return msg, err
	}
	if most == 0 {
		return nil, nil //nolint:nilnil // there is none
	}
	var found *jetstream.RawStreamMsg
	from, until := most, most // the sequences in which the last may be, when found is not it
	for step := uint64(1); found == nil; step *= 2 {
		msg, err := next(from)
		if err != nil {
			return nil, err
		}
		if found = msg; found != nil || from == 1 {
			break
		}
		until = from - 1
		from -= min(step, from-1)
	}
	if found == nil {
		return nil, nil //nolint:nilnil // there is none
	}
	for low := found.Sequence + 1; low <= until; {
		middle := low + (until-low)/2
		msg, err := next(middle)
		if err != nil {
			return nil, err
		}
		if msg == nil {
			until = middle - 1
			continue
		}
		found, low = msg, msg.Sequence+1
	}
	return found, nil
}
