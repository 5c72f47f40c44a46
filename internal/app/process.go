// Package app puts the processes together: each is a function that runs until
// its context ends, so that tests and other programs can embed it. What needs
// the embedded broker is in the packages local and demo, which the services do
// not link.
package app

import (
	"context"
	"errors"
	"slices"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"github.com/hms-utl/extsync/internal/config"
	"github.com/hms-utl/extsync/internal/operate"
	"github.com/hms-utl/extsync/pkg/extsync"
)

// ErrEmbedded says that the embedded broker could not be started.
var ErrEmbedded = errors.New("no embedded broker")

// A connecting makes the connection of a process.
type connecting func(ctx context.Context, cfg config.Config, log zerolog.Logger, extra ...nats.Option) (*operate.Client, error)

// connectOrWait is operate.Connect, but if the broker is not there it says so, and returns
// a client whose connection is made as soon as it is.
func connectOrWait(ctx context.Context, cfg config.Config, log zerolog.Logger, extra ...nats.Option) (*operate.Client, error) {
	client, err := operate.Connect(ctx, cfg, log, extra...)
	if ctx.Err() != nil || !errors.Is(err, extsync.ErrAway) {
		return client, err
	}
	log.Warn().Err(err).Msg("waiting for the broker")
	return operate.Connect(ctx, cfg, log, append(slices.Clone(extra), nats.RetryOnFailedConnect(true))...)
}

// withClient connects, runs a process on the connection and closes it. To be
// asked to end before the connection is there is no error.
func withClient(ctx context.Context, cfg config.Config, log zerolog.Logger, connect connecting, run func(*operate.Client) error) error {
	client, err := connect(ctx, cfg, log)
	if err == nil {
		defer client.Close()
	}
	if ctx.Err() != nil {
		return nil
	}
	if err != nil {
		return err
	}
	return run(client)
}
