package app

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"github.com/hms-utl/extsync/internal/config"
	"github.com/hms-utl/extsync/internal/operate"
	"github.com/hms-utl/extsync/internal/relay"
	"github.com/hms-utl/extsync/internal/sleep"
	"github.com/hms-utl/extsync/internal/telemetry"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/outbox"
)

// RelayOptions say how to run a relay.
type RelayOptions struct {
	Config config.Config
	Logger zerolog.Logger
}

// RunRelay publishes the rows of an outbox, or of a query, until ctx ends, then finishes what
// is under way and returns nil. It waits for a broker and a database that are not there, and
// says so.
func RunRelay(ctx context.Context, o RelayOptions) error {
	defer relaxCollector()()
	if o.Config.Relay.Query != "" {
		return runFollower(ctx, o)
	}
	dialect, dsn, err := o.Config.Relay.Database()
	if err != nil {
		return err
	}
	db, err := relay.Open(dialect, dsn, o.Config.Relay.Claims)
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }() // nothing is under way
	return withClient(ctx, o.Config, o.Logger, connectOrWait, func(c *operate.Client) error { return Relay(ctx, c, db, o) })
}

// Relay runs a relay on a client's connection, as RunRelay does.
func Relay(ctx context.Context, c *operate.Client, db *relay.Database, o RelayOptions) error {
	p := relaying{c: c, o: o}
	stop, err := p.show(ctx)
	if err != nil {
		return err
	}
	defer stop()
	wake := make(chan struct{}, 1)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { db.Listen(ctx, wake, o.Logger); return nil })
	group.Go(func() error {
		return p.run(ctx, db.Dialect, func(publisher relay.Publisher) relayer {
			return relay.New(relay.Options{
				DB: db, Publisher: publisher, MaxPayload: c.Conn.MaxPayload, Poll: o.Config.Relay.PollEvery(),
				Claims: o.Config.Relay.Claims, Wake: wake, Logger: o.Logger, Observer: p.metrics,
			})
		})
	})
	return group.Wait()
}

// A relayer is a relay.Relay or a relay.Follower.
type relayer interface {
	Run(ctx context.Context) error
	Watch(ctx context.Context, stallAfter time.Duration)
	Problems() []string
	Notes() []string
}

// relaying is a relay process.
type relaying struct {
	c       *operate.Client
	o       RelayOptions
	metrics *telemetry.RelayMetrics
	now     atomic.Pointer[relayer] // nil until the broker was there
}

// run relays until ctx ends. A broker that was restored needs a new publisher, since the old
// one remembers what is not so any more, and a new relayer.
func (p *relaying) run(ctx context.Context, dialect outbox.Dialect, begin func(relay.Publisher) relayer) error {
	for ctx.Err() == nil {
		publisher := p.publisher(ctx)
		if publisher == nil {
			return nil
		}
		r := begin(publisher)
		p.now.Store(&r)
		p.o.Logger.Info().Str("dialect", string(dialect)).Msg("relay started")
		watching, stop := context.WithCancel(ctx)
		var group errgroup.Group
		group.Go(func() error { r.Watch(watching, p.o.Config.Relay.StallAfter.D()); return nil })
		err := r.Run(ctx)
		stop()
		_ = group.Wait() // it returns no error
		if !errors.Is(err, events.ErrIncarnation) {
			p.o.Logger.Info().Msg("relay stopped")
			return err
		}
		p.o.Logger.Error().Err(err).Msg("the broker was restored or made anew: what was published since its backup is not there. " + p.restored())
	}
	return nil
}

// restored says what to do about a broker that has come back older than it was.
func (p *relaying) restored() string {
	if p.o.Config.Relay.Query != "" {
		return "All rows of the query are published again"
	}
	return "Where the platform's tables have versions, 'publisher relay --compare --relay-query' tells what it lacks"
}

// publisher makes the publisher, as soon as the broker is there and provisioned; nil if ctx
// ends before.
func (p *relaying) publisher(ctx context.Context) *operate.PromptPublisher {
	wait := backoff.NewExponentialBackOff(backoff.WithInitialInterval(200*time.Millisecond), backoff.WithMaxInterval(5*time.Second), backoff.WithMaxElapsedTime(0))
	for said := ""; ; {
		publisher, err := p.c.PromptPublisher(ctx)
		if err == nil {
			return publisher
		}
		if ctx.Err() != nil {
			return nil
		}
		if text := err.Error(); text != said {
			p.o.Logger.Warn().Err(err).Msg("waiting for the broker")
			said = text
		}
		if !sleep.For(ctx, wait.NextBackOff()) {
			return nil
		}
	}
}

// show lets people look at the relay until stop is called.
func (p *relaying) show(ctx context.Context) (stop func(), err error) {
	registry := telemetry.NewRegistry()
	p.metrics = telemetry.NewRelayMetrics(registry, p.problems)
	l := looks{log: p.o.Logger}
	if err := l.profiles(ctx, p.o.Config.Telemetry.Pprof); err != nil {
		return nil, err
	}
	if address := p.o.Config.Telemetry.Listen; address != "" {
		handler := telemetry.OperatorHandler(telemetry.MetricsHandler(registry), p.problems, p.notes)
		if err := l.serve(ctx, "metrics", address, "/metrics", handler); err != nil {
			l.stop()
			return nil, err
		}
	}
	return l.stop, nil
}

// problems says why the relay is not ready.
func (p *relaying) problems() []string {
	var problems []string
	if p.c.Conn.Status() != nats.CONNECTED {
		problems = append(problems, "no connection to the broker")
	}
	if err := p.c.Refused(); err != nil {
		problems = append(problems, err.Error())
	}
	if r := p.now.Load(); r != nil {
		return append(problems, (*r).Problems()...)
	}
	return append(problems, "the relay has not begun: it waits for the broker")
}

func (p *relaying) notes() []string {
	if r := p.now.Load(); r != nil {
		return (*r).Notes()
	}
	return nil
}
