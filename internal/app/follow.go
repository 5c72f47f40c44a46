package app

import (
	"context"
	"errors"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"github.com/hms-utl/extsync/internal/config"
	"github.com/hms-utl/extsync/internal/operate"
	"github.com/hms-utl/extsync/internal/relay"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// OpenSource opens the query of a configuration that has one. It does not connect. The caller
// closes its database.
func OpenSource(cfg config.Relay) (*relay.Source, error) {
	dialect, dsn, err := cfg.Database()
	if err != nil {
		return nil, err
	}
	versions := versioning.Numbered
	if cfg.Versions == config.VersionsTime {
		versions = versioning.Timed
	}
	query, err := relay.ParseQuery(dialect, versions, cfg.Query)
	if err != nil {
		return nil, err
	}
	db, err := relay.Open(dialect, dsn, 1)
	if err != nil {
		return nil, err
	}
	return &relay.Source{DB: db, Query: query, Target: cfg.Target}, nil
}

// overlap returns the overlap of a configuration that is valid.
func overlap(cfg config.Relay) relay.Overlap {
	n, span, _ := cfg.Overlaps() // it is valid
	return relay.Overlap{Versions: n, Time: span}
}

// CompareOptions returns how to compare the source of a configuration with the broker.
func CompareOptions(cfg config.Relay, source *relay.Source) operate.CompareOptions {
	return operate.CompareOptions{Source: source, Overlap: overlap(cfg), Settle: min(2*cfg.PollEvery()+time.Second, mostSettle)}
}

const (
	// mostSettle bounds how long a comparison waits for a relay that may be at work.
	mostSettle = 15 * time.Second
	// sayFound is how many disagreements of a comparison are logged.
	sayFound = 20
)

func runFollower(ctx context.Context, o RelayOptions) error {
	source, err := OpenSource(o.Config.Relay)
	if err != nil {
		return err
	}
	defer func() { _ = source.DB.Close() }() // nothing is under way
	// What is wrong with the database is said, and waited for, when it is asked again.
	if err := source.Check(ctx); errors.Is(err, relay.ErrQuery) {
		return err
	}
	return withClient(ctx, o.Config, o.Logger, connectOrWait, func(c *operate.Client) error { return Follow(ctx, c, source, o) })
}

// Follow runs a follower on a client's connection, as RunRelay does.
func Follow(ctx context.Context, c *operate.Client, source *relay.Source, o RelayOptions) error {
	p := relaying{c: c, o: o}
	stop, err := p.show(ctx)
	if err != nil {
		return err
	}
	defer stop()
	group, ctx := errgroup.WithContext(ctx)
	if o.Config.Relay.CompareEvery != 0 {
		group.Go(func() error { p.compareNowAndThen(ctx, source); return nil })
	}
	group.Go(func() error {
		return p.run(ctx, source.DB.Dialect, func(publisher relay.Publisher) relayer {
			return relay.Follow(relay.FollowOptions{
				Source: source, Publisher: publisher, MaxPayload: c.Conn.MaxPayload, Poll: o.Config.Relay.PollEvery(),
				Overlap: overlap(o.Config.Relay), Logger: o.Logger, Observer: p.metrics,
			})
		})
	})
	return group.Wait()
}

// compareNowAndThen compares the platform with the broker until ctx ends. It repairs nothing:
// that there is something to repair may mean that the platform, and not the broker, has lost
// something.
func (p *relaying) compareNowAndThen(ctx context.Context, source *relay.Source) {
	tick := time.NewTicker(p.o.Config.Relay.CompareEvery.D())
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := p.compare(ctx, source); err != nil && ctx.Err() == nil {
			p.o.Logger.Warn().Err(err).Msg("the query could not be compared with the broker; it is tried again when its time comes")
		}
	}
}

// compare compares, and shows the result.
func (p *relaying) compare(ctx context.Context, source *relay.Source) error {
	o := CompareOptions(p.o.Config.Relay, source)
	said := 0
	o.Found = func(d operate.Disagreeing) error {
		if said++; said <= sayFound {
			p.o.Logger.Warn().Str("finding", string(d.Finding)).Str("target", d.Target).Str("key", d.Key).
				Stringer("platform", d.Platform).Stringer("broker", d.Broker).Str("note", d.Note).Msg("platform and broker disagree")
		}
		return nil
	}
	o.Progress = func(operate.Comparison) {}
	sum, err := p.c.Compare(ctx, o)
	if err != nil {
		return err
	}
	p.metrics.Compared(sum.Counts())
	level := zerolog.InfoLevel
	if sum.Open() > 0 {
		level = zerolog.WarnLevel
	}
	p.o.Logger.WithLevel(level).Interface("compared", sum).Msg("the query was compared with the broker")
	return nil
}
