// Package operate holds every operation on an installation once: what a person or
// a program may ask of it or do to it, each with the one result that the commands
// and the HTTP API both show. A [Client] does them over a connection to the broker.
package operate

import (
	"context"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"
	"golang.org/x/sync/semaphore"

	"github.com/hms-utl/extsync/internal/broker"
	"github.com/hms-utl/extsync/internal/config"
	"github.com/hms-utl/extsync/internal/telemetry"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/kinds"
	"github.com/hms-utl/extsync/pkg/deadletters"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/publish"
)

// A Client is a connection to the broker with what commands and processes need
// of it. It is safe for concurrent use.
type Client struct {
	JS      jetstream.JetStream
	Names   events.Names
	Catalog *connectors.Catalog
	// Conn is the connection, and Refusals what the broker has not let it do.
	Conn     *nats.Conn
	Refusals *broker.Refusals

	host    connectors.Host
	actor   string // for the audit log, with from
	from    string // "" for whoever runs this process
	log     zerolog.Logger
	storage channels.Storage

	registry *channels.Registry // nil: opened each time
	grouping *semaphore.Weighted
}

// answerWithin bounds how long an answer to a stored message may take: it may have been
// lost with the server that gave it.
const answerWithin = 10 * time.Second

// Connect connects to the broker of the configuration; extra is as in
// broker.Connect. The caller closes the client.
func Connect(ctx context.Context, cfg config.Config, logger zerolog.Logger, extra ...nats.Option) (*Client, error) {
	names, err := cfg.Names()
	if err != nil {
		return nil, err
	}
	refusals := &broker.Refusals{}
	conn, err := broker.Connect(ctx, cfg.NATS, logger, append(slices.Clone(extra), refusals.Watch())...)
	if err != nil {
		return nil, err
	}
	js, err := jetstream.New(conn, jetstream.WithPublishAsyncTimeout(answerWithin))
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("use JetStream: %w", err)
	}
	return &Client{
		JS: js, Names: names, Catalog: kinds.All(),
		Conn: conn, Refusals: refusals, host: Host(&cfg), actor: actorOf(conn), log: logger, storage: cfg.Storage.ForProvisioning(),
		grouping: semaphore.NewWeighted(groupsAtOnce),
	}, nil
}

// Refused returns what the broker did not let us do within the last minute,
// wrapping broker.ErrRefused, and nil if there was nothing. A process that is
// refused something is not ready.
func (c *Client) Refused() error { return c.Refusals.Err() }

// EndOnRefusal ends, with the refusal as the cause, whatever end ends, when the
// broker refuses anything from now on.
func (c *Client) EndOnRefusal(end context.CancelCauseFunc) { c.Refusals.EndOnRefusal(end) }

// Close ends the connection.
func (c *Client) Close() { c.Conn.Close() }

// Publisher returns a publisher, or events.ErrNotProvisioned.
func (c *Client) Publisher(ctx context.Context) (*publish.Publisher, error) {
	return publish.New(ctx, c.JS, c.Names)
}

// TracedPublisher is Publisher, with the spans of a service if the process's
// environment asks for them. done is to be called at the end: it sends them.
func (c *Client) TracedPublisher(ctx context.Context, service string) (_ *telemetry.Publisher, done func(), err error) {
	publisher, err := c.Publisher(ctx)
	if err != nil {
		return nil, nil, err
	}
	tracing, err := telemetry.StartTracing(ctx, service, os.Getenv, c.log)
	if err != nil {
		return nil, nil, err
	}
	done = func() {
		if err := tracing.Close(ctx); err != nil {
			c.log.Error().Err(err).Msg("traces")
		}
	}
	return telemetry.NewPublisher(publisher, telemetry.NewPublisherMetrics(telemetry.NewRegistry()), tracing), done, nil
}

// Registry returns the channel registry, or events.ErrNotProvisioned.
func (c *Client) Registry(ctx context.Context) (*channels.Registry, error) {
	if c.registry != nil {
		return c.registry, nil
	}
	return channels.OpenRegistry(ctx, c.JS, c.Names, c.Catalog)
}

// Keeping returns a client on the same connection that opens the registry now and keeps it.
// It is for a process that ends when the incarnation changes.
func (c *Client) Keeping(ctx context.Context) (*Client, error) {
	registry, err := c.Registry(ctx)
	if err != nil {
		return nil, err
	}
	out := *c
	out.registry = registry
	return &out, nil
}

// DeadLetters returns the dead letters of all channels, or
// events.ErrNotProvisioned.
func (c *Client) DeadLetters(ctx context.Context) (*deadletters.Replayer, error) {
	registry, err := c.Registry(ctx)
	if err != nil {
		return nil, err
	}
	store, err := deadletters.Open(ctx, c.JS, c.Names)
	if err != nil {
		return nil, err
	}
	return store.Replayer(registry), nil
}

// Provision makes the streams and buckets that all channels share, or brings
// them up to date.
func (c *Client) Provision(ctx context.Context) error {
	return channels.Provision(ctx, c.JS, c.Names, c.storage)
}
