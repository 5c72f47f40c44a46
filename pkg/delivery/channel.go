package delivery

import (
	"context"
	"errors"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/time/rate"

	"github.com/hms-utl/extsync/internal/sleep"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/delivery/internal/flow"
	"github.com/hms-utl/extsync/pkg/delivery/internal/gate"
	"github.com/hms-utl/extsync/pkg/transform"
)

// closeTimeout bounds the closing of a connector.
const closeTimeout = 5 * time.Second

// A channelRun is one channel at one revision of its configuration, on this
// worker: the connector, and the partitions that this worker owns. partitions
// and stopping belong to the manager.
type channelRun struct {
	entry channels.Entry
	// revision and reloads are those of the registry that the run is up to. They
	// belong to the manager.
	revision   uint64
	reloads    int
	target     *target
	stopWatch  context.CancelFunc
	maxBatch   int
	remembers  bool // what the target answers goes with the next update of a key
	gate       *gate.Gate
	b          *broker
	log        zerolog.Logger
	stats      *stats
	budget     *flow.Budget
	worker     string
	drainLimit time.Duration
	parkAfter  time.Duration
	// hiddenCheck is how long a partition may be quiet until it is looked whether
	// there is really nothing.
	hiddenCheck time.Duration

	// looks bounds how often the target is read for people, and looking holds something
	// while it is.
	looks   *rate.Limiter
	looking chan struct{}

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
	resolve := func(ref connectors.Ref) (string, error) { return m.o.Host.Env(cfg.Name).Resolve(ref) }
	target, err := newTarget(ctx, resolve, cfg.Connector.Config, func(ctx context.Context) (connectors.Sender, error) {
		env := m.o.Host.Env(cfg.Name)
		env.Concurrency, env.Timeout = cfg.Concurrency, cfg.Timeout.D()
		env.Log = func(line string) { log.Info().Str("line", line).Msg("the connector's program writes") }
		conn, err := connectors.Open(ctx, kind, env, cfg.Connector.Config)
		if err != nil {
			return nil, err
		}
		sends, err := transform.Wrap(conn, cfg.Transform())
		if err != nil {
			return nil, errors.Join(err, conn.Close(ctx))
		}
		return sends, nil
	})
	if err != nil {
		return nil, err
	}
	r := &channelRun{
		entry: e, revision: e.Revision, reloads: e.Reloads, target: target, maxBatch: 1, remembers: kind.With(cfg.Connector.Config).Remembers, b: m.b, log: log, stats: m.stats, budget: m.budget,
		worker: m.o.ID, drainLimit: m.o.DrainTimeout, parkAfter: m.o.ParkAfter,
		hiddenCheck: defaultHiddenCheck, partitions: map[int]*partition{},
		looks: rate.NewLimiter(readBackRate, readBackBurst), looking: make(chan struct{}, 1),
	}
	r.gate = gate.New(gate.Options{
		Log: log, Hint: connectors.RestartHint(cfg.Connector.Config),
		Patience: 2*cfg.Timeout.D() + hungAfter, // to open the connector, and for the call
	})
	target.use(func(conn connectors.Sender) { r.maxBatch = conn.MaxBatch() })
	ctx, r.stopWatch = context.WithCancel(ctx)
	go r.watchSecrets(ctx)
	log.Info().Str("kind", cfg.Connector.Kind).Str("mode", string(cfg.Mode)).Uint64("revision", e.Revision).Msg("channel opened")
	return r, nil
}

// closeConnector closes the connector, once no partition uses it.
func (r *channelRun) closeConnector(ctx context.Context) {
	r.stopWatch()
	switch err := r.target.close(ctx); {
	case errors.Is(err, errHung):
		r.log.Error().Err(err).Msg("connector is not closed")
		return
	case err != nil:
		r.log.Warn().Err(err).Msg("close connector")
	}
	r.log.Info().Msg("channel closed")
}

// watchSecrets opens the connector anew when a file changes that a secret is in,
// until ctx ends.
func (r *channelRun) watchSecrets(ctx context.Context) {
	if len(r.target.files) == 0 {
		return
	}
	for sleep.For(ctx, secretsPoll) {
		if changed, err := r.target.renewIfChanged(ctx); changed {
			r.renewed(err, "a file that holds a secret has changed")
			if err == nil {
				r.gate.Hurry()
			}
		}
	}
}

// follow brings the run up to the registry's entry, and reports whether that can be
// done without an end to the work. It belongs to the manager.
func (r *channelRun) follow(ctx context.Context, e *channels.Entry) bool {
	if e.Revision == r.revision {
		return true
	}
	if !e.SameWork(&r.entry) {
		return false
	}
	r.revision = e.Revision
	if e.Reloads != r.reloads {
		r.reloads = e.Reloads
		go r.reload(ctx) // not here: a connector that is slow to open must not cost a lease
	}
	return true
}

// reload opens the connector anew because an operator asks for it.
func (r *channelRun) reload(ctx context.Context) {
	r.renewed(r.target.renew(ctx), "an operator asked for it")
	r.gate.Hurry()
}

// renewed says what came of opening the connector anew.
func (r *channelRun) renewed(err error, why string) {
	news := r.gate.Note(err)
	if err != nil {
		if !news { // it is tried again and again
			return
		}
		r.log.Warn().Err(err).Str("why", why).Msg("the connector cannot be opened anew; the one that is open is used further")
		return
	}
	r.log.Info().Str("why", why).Msg("connector opened anew")
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
