package connkit

import (
	"context"
	"time"

	"github.com/hms-utl/extsync/pkg/connectors"
)

// defaultTimeout bounds a call in a program that names no timeout.
const defaultTimeout = 30 * time.Second

// TimeoutOf returns what bounds a call of a connector that is opened in env.
func TimeoutOf(env connectors.Env) time.Duration {
	if env.Timeout <= 0 {
		return defaultTimeout
	}
	return env.Timeout
}

// Bounded returns a context that ends after a time. It is the parent itself where that ends
// no later, as the engine's mostly does: a context of our own would cost a timer for each
// call.
func Bounded(parent context.Context, most time.Duration) (context.Context, context.CancelFunc) {
	end := time.Now().Add(most)
	if sooner, ok := parent.Deadline(); ok && !end.Before(sooner) {
		return parent, func() {}
	}
	return context.WithDeadline(parent, end)
}
