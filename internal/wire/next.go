package wire

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// nextAgain is after how long without a message the client is asked anew.
const nextAgain = 100 * time.Millisecond

// NextMessage returns the next message of a pull consumer, waiting for it until ctx
// ends; its errors are those of it.Next. The client looks whether to ask the broker for
// more when it is called, but not while its last request is still being sent: if all of
// that came at once, it waits for what nobody was asked for, until it misses heartbeats.
// So it is called again.
func NextMessage(ctx context.Context, it jetstream.MessagesContext) (jetstream.Msg, error) {
	soon, end := context.WithTimeout(ctx, nextAgain)
	msg, err := it.Next(jetstream.NextContext(soon))
	end()
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return it.Next(jetstream.NextContext(ctx))
	}
	return msg, err
}
