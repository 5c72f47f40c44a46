package wire

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/pkg/events"
)

// MarkUnavailable marks err as ErrUnavailable if it says that nobody answered.
func MarkUnavailable(err error) error {
	if IsUnavailable(err) && !errors.Is(err, events.ErrUnavailable) {
		return fmt.Errorf("%w: %w", events.ErrUnavailable, err)
	}
	return err
}

// IsUnavailable reports whether err says that the broker, or the stream's
// leader, did not answer or could not decide: the same request may be made again.
func IsUnavailable(err error) bool {
	for _, target := range []error{
		events.ErrUnavailable, context.DeadlineExceeded, nats.ErrTimeout, nats.ErrNoResponders, nats.ErrDisconnected,
		nats.ErrConnectionClosed, nats.ErrConnectionReconnecting, nats.ErrNoServers, nats.ErrReconnectBufExceeded,
		nats.ErrStaleConnection, jetstream.ErrNoStreamResponse, jetstream.ErrAsyncPublishTimeout,
	} {
		if errors.Is(err, target) {
			return true
		}
	}
	m := MeaningOf(err)
	return m == Unavailable || m == Repeat
}

// DefaultTimeout bounds a call whose context has no deadline.
const DefaultTimeout = 5 * time.Second

// WithDefaultTimeout returns ctx with a deadline.
func WithDefaultTimeout(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, DefaultTimeout)
}
