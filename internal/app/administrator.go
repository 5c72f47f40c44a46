package app

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"github.com/hms-utl/extsync/internal/broker"
	"github.com/hms-utl/extsync/internal/gateway"
	"github.com/hms-utl/extsync/internal/operate"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/events"
)

// administers reports whether the connection's role at the broker lets it change
// anything. It is so where the broker restricts nobody, and tells nobody what he may do.
func administers(ctx context.Context, c *operate.Client) (bool, error) {
	access, err := broker.ReadAccess(ctx, c.Conn)
	if errors.Is(err, nats.ErrNoResponders) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("see what the role at the broker allows: %w", err)
	}
	return access.Publish.Has(wire.AuditSubjects(c.Names)), nil // each act is recorded first
}

// answerGateways has a handler answer what gateways forward, until stop is called, whose
// context bounds how long what is in hand may take.
func answerGateways(c *operate.Client, h http.Handler, log zerolog.Logger) (stop func(context.Context), err error) {
	server, err := gateway.Serve(c.Conn, wire.Administration(c.Names), h, log)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) {
		if err := server.Stop(ctx); err != nil {
			log.Warn().Err(err).Msg("gateways")
		}
	}, nil
}

// runJobs runs the jobs of the installation until ctx ends.
func runJobs(ctx context.Context, c *operate.Client, group *errgroup.Group, o PublisherOptions) error {
	keeping, err := c.Keeping(ctx)
	if err != nil {
		return err
	}
	runner, err := keeping.JobRunner(ctx, o.Logger)
	if errors.Is(err, events.ErrNotProvisioned) { // an older version has provisioned the broker
		o.Logger.Warn().Err(err).Msg("jobs are not run")
		return nil
	}
	if err != nil {
		return err
	}
	group.Go(func() error { runner.Run(ctx); return nil })
	return nil
}
