package delivery

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"
	"github.com/rs/zerolog"
	"go.opentelemetry.io/otel/trace"

	"github.com/hms-utl/extsync/internal/sleep"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/deadletters"
	"github.com/hms-utl/extsync/pkg/delivery/internal/lease"
	"github.com/hms-utl/extsync/pkg/delivery/internal/ledger"
	"github.com/hms-utl/extsync/pkg/delivery/internal/outlog"
	"github.com/hms-utl/extsync/pkg/events"
)

// Options configure a Worker. JS and Catalog are required.
type Options struct {
	JS      jetstream.JetStream
	Names   events.Names // zero: events.DefaultNames
	Catalog *connectors.Catalog
	// Host is the process, as far as channels may use it. Zero: public networks only.
	Host   connectors.Host
	Logger zerolog.Logger
	// ID names the worker among all live ones: letters, digits, '_' and '-', at
	// most 64. Zero: the host's name and a random part. It must never be shared.
	ID string
	// LeaseTTL is after how long without a sign of life the shards of this
	// worker go to another. Whole seconds, 2 s to MaxLeaseTTL. Zero: 4 s, and 10 s
	// where the leases lie on more than one server, to ride through an election.
	LeaseTTL time.Duration
	// DrainTimeout bounds how long Run waits, after its context ended, for calls
	// in flight to finish. Zero: 30 s.
	DrainTimeout time.Duration
	// ParkAfter is how long a key may fail before it is moved out of the way of
	// the others. Zero: 30 s.
	ParkAfter time.Duration
	// StallAfter is for how long a partition may have something to do and settle
	// nothing until it counts as stalled. Zero: 1 m.
	StallAfter time.Duration
	// Refused returns what the broker did not let the worker's connection do lately; nil if
	// there is nothing. A request that the broker's permissions refuse is not answered, so
	// else the worker can only say that it does not come to an end. Zero: nobody knows.
	Refused func() error
	// Observer is told of attempts and outcomes. Zero: nobody.
	Observer Observer
	// Tracer makes a span of each attempt and each ack, in the trace that the
	// update carries. Zero: no spans; the update's own context goes to the target.
	Tracer trace.Tracer
}

// MaxLeaseTTL is the longest LeaseTTL. The broker forgets what workers wrote of
// themselves and their leases after channels.PresenceAge, by its own clock: the
// clocks of its servers may differ by what is between the two.
const MaxLeaseTTL = lease.MaxTTL

const (
	defaultLeaseTTL        = 4 * time.Second
	defaultClusterLeaseTTL = 10 * time.Second
	defaultDrainTimeout    = 30 * time.Second
	defaultStallAfter      = time.Minute
	// provisionPoll is how often a worker looks whether the broker has been
	// provisioned.
	provisionPoll = time.Second
)

// ErrOptions says that a Worker cannot be made of these Options.
var ErrOptions = errors.New("invalid worker options")

var (
	idPattern = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)
	notID     = regexp.MustCompile(`[^A-Za-z0-9_-]+`)
)

// A Worker delivers the updates of every channel that it gets a share of.
// Several workers, in as many processes, share the work among themselves.
type Worker struct {
	o     Options
	stats *stats
}

// New returns a worker. It does not talk to the broker yet.
func New(o Options) (*Worker, error) {
	if o.JS == nil || o.Catalog == nil {
		return nil, fmt.Errorf("%w: JS and Catalog are required", ErrOptions)
	}
	if err := o.Host.Validate(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrOptions, err)
	}
	if o.Names == (events.Names{}) {
		o.Names = events.DefaultNames()
	}
	if o.ID == "" {
		host, _ := os.Hostname() // only makes the id easier to recognise
		host = notID.ReplaceAllString(host, "-")
		o.ID = fmt.Sprintf("%.40s-%s", host, nuid.Next()[:10])
	}
	if !idPattern.MatchString(o.ID) {
		return nil, fmt.Errorf("%w: ID %q does not match %s", ErrOptions, o.ID, idPattern)
	}
	if o.LeaseTTL != 0 && (o.LeaseTTL < 2*time.Second || o.LeaseTTL > MaxLeaseTTL || o.LeaseTTL%time.Second != 0) {
		return nil, fmt.Errorf("%w: LeaseTTL %s is not a whole number of seconds in 2s..%s", ErrOptions, o.LeaseTTL, MaxLeaseTTL)
	}
	if o.ParkAfter == 0 {
		o.ParkAfter = defaultParkAfter
	}
	if o.StallAfter == 0 {
		o.StallAfter = defaultStallAfter
	}
	if o.DrainTimeout == 0 {
		o.DrainTimeout = defaultDrainTimeout
	}
	o.Logger = o.Logger.With().Str("worker", o.ID).Logger()
	st := newStats()
	st.observer, st.tracer = o.Observer, o.Tracer
	return &Worker{o: o, stats: st}, nil
}

// ID returns the name of the worker among all live ones.
func (w *Worker) ID() string { return w.o.ID }

// Stats returns what this worker has counted since it was made, by channel.
func (w *Worker) Stats() map[string]ChannelStats { return w.stats.snapshot() }

// Run delivers until ctx ends. Then it stops taking updates, finishes the calls
// in flight within DrainTimeout, hands its shards over and returns nil. While
// the broker is not provisioned, or not there, it waits and says so. When the
// installation gets another incarnation it drops everything and returns
// events.ErrIncarnation. It may be called once.
func (w *Worker) Run(ctx context.Context) error {
	defer w.stats.tell(func(s *Status) { s.Phase, s.Shards = Stopped, 0 })
	b, err := w.open(ctx)
	if ctx.Err() != nil {
		return nil
	}
	if err != nil {
		return err
	}
	m := newManager(w.o, b, w.stats)
	return m.run(ctx)
}

// broker is what the engine uses at the broker.
type broker struct {
	js          jetstream.JetStream
	names       events.Names
	stats       *stats
	registry    *channels.Registry
	ledger      *wire.Ledger
	progress    *channels.ProgressStore
	incarnation wire.Incarnation // of the installation when the worker started
	outcomes    jetstream.Stream
	parked      jetstream.Stream
	letters     *deadletters.Store
	leaseTTL    time.Duration
	refused     func() error // see Options; nil: nobody knows
	// views is what the ledger's views of all partitions share.
	views ledger.Shared
	// counting holds something while a partition's records are counted.
	counting chan struct{}
	// readBacks holds something for each target that is read for a person.
	readBacks chan struct{}
	// logSeen is the highest sequence of the outcome log that this worker was given, and
	// restored when the broker was found to have been restored (Unix seconds; 0: it was not).
	logSeen  outlog.Seen
	restored atomic.Int64
	// tenures counts the partitions that are worked on.
	tenures atomic.Int64
	// kept is the content of parked updates that is kept between attempts, in bytes.
	kept atomic.Int64
	// workspaces are those that no call uses, of type *workspace.
	workspaces sync.Pool
	// replies is memory for acks, of type *replyRoom.
	replies sync.Pool
}

// open binds to the broker's streams, waiting for them as long as ctx lasts.
func (w *Worker) open(ctx context.Context) (*broker, error) {
	for said := false; ; said = true {
		b, err := w.tryOpen(ctx)
		if err == nil || ctx.Err() != nil {
			return b, err
		}
		if !errors.Is(err, events.ErrNotProvisioned) && !wire.IsUnavailable(err) {
			return nil, err
		}
		if !said {
			w.o.Logger.Warn().Err(err).Msg("waiting for the broker; it is provisioned when the first channel is applied")
		}
		if !sleep.For(ctx, provisionPoll) {
			return nil, ctx.Err()
		}
	}
}

func (w *Worker) tryOpen(ctx context.Context) (*broker, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	js, names := w.o.JS, w.o.Names
	b := &broker{js: js, names: names, stats: w.stats, leaseTTL: w.o.LeaseTTL, refused: w.o.Refused, counting: make(chan struct{}, 1), readBacks: make(chan struct{}, mostReadBacks)}
	b.workspaces.New = func() any { return new(workspace) }
	var err error
	if b.registry, err = channels.OpenRegistry(ctx, js, names, w.o.Catalog); err != nil {
		return nil, err
	}
	if b.ledger, err = wire.OpenLedger(ctx, js, names); err != nil {
		return nil, err
	}
	if b.progress, err = channels.OpenProgress(ctx, js, names); err != nil {
		return nil, err
	}
	b.incarnation = b.progress.Incarnation()
	if b.letters, err = deadletters.Open(ctx, js, names); err != nil {
		return nil, err
	}
	if b.outcomes, err = js.Stream(ctx, wire.OutcomeStream(names)); err != nil {
		return nil, notProvisioned(wire.OutcomeStream(names), err)
	}
	if b.parked, err = js.Stream(ctx, wire.ParkedStream(names)); err != nil {
		return nil, notProvisioned(wire.ParkedStream(names), err)
	}
	if _, err = js.Stream(ctx, wire.KVStream(wire.WorkersBucket(names))); err != nil {
		return nil, notProvisioned(wire.WorkersBucket(names), err)
	}
	leases, err := js.Stream(ctx, wire.KVStream(wire.LeasesBucket(names)))
	if err != nil {
		return nil, notProvisioned(wire.LeasesBucket(names), err)
	}
	if b.leaseTTL == 0 {
		b.leaseTTL = defaultLeaseTTL
		if leases.CachedInfo().Config.Replicas > 1 {
			b.leaseTTL = defaultClusterLeaseTTL
		}
	}
	return b, nil
}

func notProvisioned(what string, err error) error {
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return fmt.Errorf("%w: %s is missing", events.ErrNotProvisioned, what)
	}
	return fmt.Errorf("open %s: %w", what, err)
}
