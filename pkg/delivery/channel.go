package delivery

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/time/rate"

	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/transform"
)

// closeTimeout bounds the closing of a connector.
const closeTimeout = 5 * time.Second

// A channelRun is one channel at one revision of its configuration, on this
// worker: the connector, and the partitions that this worker owns. partitions
// and stopping belong to the manager.
type channelRun struct {
	entry      channels.Entry
	conn       connectors.Connector
	maxBatch   int
	gate       *gate
	b          *broker
	log        zerolog.Logger
	stats      *stats
	budget     *byteBudget
	worker     string
	drainLimit time.Duration
	parkAfter  time.Duration
	// hiddenCheck is how long a partition may be quiet until it is looked whether
	// there is really nothing.
	hiddenCheck time.Duration
	calls       sync.WaitGroup // of the connector, all partitions

	partitions map[int]*partition
	stopping   bool
}

// openRun opens a channel's connector.
func openRun(ctx context.Context, m *manager, e channels.Entry) (*channelRun, error) {
	cfg := e.Config
	log := m.log.With().Str("channel", cfg.Name).Logger()
	kind, err := m.o.Catalog.Kind(cfg.Connector.Kind)
	if err != nil {
		return nil, err
	}
	conn, err := openConnector(ctx, kind, connectors.Env{
		Channel: cfg.Name, Concurrency: cfg.Concurrency, Timeout: cfg.Timeout.D(), Secrets: m.o.Secrets, Logger: log,
	}, cfg.Connector.Config)
	if err != nil {
		return nil, err
	}
	sends, err := transform.Wrap(conn, cfg.Filter, cfg.Mapping)
	if err != nil {
		return nil, errors.Join(err, conn.Close(ctx))
	}
	r := &channelRun{
		entry: e, conn: sends, maxBatch: 1, b: m.b, log: log, stats: m.stats, budget: m.budget,
		worker: m.o.ID, drainLimit: m.o.DrainTimeout, parkAfter: m.o.ParkAfter,
		hiddenCheck: defaultHiddenCheck, partitions: map[int]*partition{},
	}
	r.gate = newGate(log)
	if b, ok := sends.(connectors.Batcher); ok {
		r.maxBatch = max(1, b.MaxBatch())
	}
	log.Info().Str("kind", cfg.Connector.Kind).Str("mode", string(cfg.Mode)).Uint64("revision", e.Revision).Msg("channel opened")
	return r, nil
}

// openConnector keeps a panic of one kind from taking the worker down.
func openConnector(ctx context.Context, kind connectors.Kind, env connectors.Env, config []byte) (conn connectors.Connector, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("connector kind %s panicked while it was opened: %v", kind.Name, p)
		}
	}()
	conn, err = kind.Open(ctx, env, config)
	if err != nil {
		return nil, fmt.Errorf("open connector of kind %s: %w", kind.Name, err)
	}
	return conn, nil
}

// closeConnector closes the connector, once no partition uses it.
func (r *channelRun) closeConnector(ctx context.Context) {
	if !waitFor(&r.calls, closeTimeout) {
		r.log.Error().Msg("connector is not closed: a call of it never returned")
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	if err := r.conn.Close(ctx); err != nil {
		r.log.Warn().Err(err).Msg("close connector")
	}
	r.log.Info().Msg("channel closed")
}

// newLimiter returns what bounds the rate of one partition: its share of the
// channel's. nil: no limit.
func (r *channelRun) newLimiter() *rate.Limiter {
	cfg := r.entry.Config
	if cfg.Rate == 0 {
		return nil
	}
	share := cfg.Rate / float64(cfg.Partitions)
	return rate.NewLimiter(rate.Limit(share), max(1, int(share/10)))
}

// callLimit is how many calls one partition may have in flight: the channel's
// concurrency, divided over its partitions.
func (r *channelRun) callLimit() int {
	return max(1, r.entry.Config.Concurrency/r.entry.Config.Partitions)
}
