package compare

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hms-utl/extsync/internal/faults"
	"github.com/hms-utl/extsync/internal/operate"
	"github.com/hms-utl/extsync/internal/testdb"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/events"
)

// The targets of a case.
const (
	toHTTP     = "http"
	toPostgres = "postgres"
	toSQLite   = "sqlite"
)

// A setup is what one measurement delivers, and how.
type setup struct {
	mode       channels.Mode
	keys       int
	updates    int
	zipf       bool
	target     string
	sink       SinkOptions
	inFlight   int
	channels   int // the updates are spread over
	partitions int
	workers    int // 0: the floor delivers instead
	// partial: only keys that do not fail are waited for and checked.
	partial bool
	publish string // how, where that is measured
	// peek ends the measurement after so long, whatever is delivered by then.
	peek time.Duration
	// ready starts the workers before the backlog is there, and lets each take over
	// its share first.
	ready bool
}

// A bed is what a measurement runs on: a broker of its own, and a target.
type bed struct {
	o      *Options
	s      setup
	dir    string
	broker *process
	sink   *process
	url    string // of the broker
	sinkAt string
	client *operate.Client
	nc     *nats.Conn

	postgres *testdb.Server // shared by all measurements
	database string         // the target's
	acks     atomic.Int64
	firstAck atomic.Int64
	lastAck  atomic.Int64
	inbox    string
	accepted [][]faults.Accepted // by channel
	want     int64               // updates that are delivered, and acks that come
	runners  []*process
	before   map[string]time.Duration
}

// patience bounds everything that a measurement waits for.
const patience = 3 * time.Minute

// on makes one measurement on a bed of its own.
func (measure measurer) on(ctx context.Context, o *Options, s setup, pg *testdb.Server) (m Measure, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	b, err := newBed(ctx, o, s, pg)
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	return measure(ctx, b)
}

// newBed starts broker and target and makes the channels.
func newBed(ctx context.Context, o *Options, s setup, pg *testdb.Server) (_ *bed, err error) {
	s.channels, s.partitions = max(1, s.channels), max(1, s.partitions)
	b := &bed{o: o, s: s, postgres: pg, accepted: make([][]faults.Accepted, s.channels)}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.close())
		}
	}()
	if b.dir, err = os.MkdirTemp(o.Dir, "extsync-bench-"); err != nil {
		return nil, err
	}
	var at address
	if b.broker, err = start(ctx, b.dir, Part{Role: roleBroker, Dir: filepath.Join(b.dir, "js"), Profile: b.profile(roleBroker)}, &at); err != nil {
		return nil, err
	}
	b.url = at.URL
	if err := b.connect(ctx); err != nil {
		return nil, err
	}
	switch s.target {
	case toHTTP:
		if b.sink, err = start(ctx, b.dir, Part{Role: roleSink, Sink: s.sink}, &at); err != nil {
			return nil, err
		}
		b.sinkAt = at.URL
	case toPostgres:
		if b.database, err = pg.NewDatabase(ctx); err != nil {
			return nil, err
		}
	case toSQLite:
		b.database = filepath.Join(b.dir, "target.db")
	}
	return b, b.makeChannels(ctx)
}

func (b *bed) connect(ctx context.Context) error {
	cfg := workerConfig(b.url)
	var err error
	if b.client, err = operate.Connect(ctx, cfg, quiet()); err != nil {
		return err
	}
	b.nc = b.client.JS.Conn()
	b.inbox = nats.NewInbox()
	_, err = b.nc.Subscribe(b.inbox, func(m *nats.Msg) {
		now := time.Now().UnixNano()
		b.firstAck.CompareAndSwap(0, now)
		b.lastAck.Store(now)
		b.acks.Add(1 + int64(bytes.Count(m.Data, []byte{'\n'})))
	})
	return err
}

func (b *bed) channelName(i int) string { return fmt.Sprintf("bench%d", i) }

func (b *bed) makeChannels(ctx context.Context) error {
	configs := make([]channels.Config, b.s.channels)
	share := int64(1+b.s.updates/len(configs)) << 10
	for i := range configs {
		configs[i] = channels.Config{
			Name: b.channelName(i), Mode: b.s.mode, Partitions: b.s.partitions,
			Concurrency: b.s.inFlight, Window: b.s.window(), MaxBytes: channels.Bytes(max(1<<20, 2*share)),
			Connector: b.connector(b.channelName(i)),
		}.WithDefaults()
	}
	_, err := b.client.Apply(ctx, channels.File{Channels: configs}, false)
	return err
}

// window is how many updates a worker may hold: a database gets two batches for each
// connection, one to write and one to fill meanwhile, and two that are committed.
func (s setup) window() int {
	if s.target == toHTTP {
		return max(1024, 4*s.inFlight)
	}
	return min(2*(s.inFlight+1)*floorBatch, 65536) // where nobody delivers, it does not matter
}

func (b *bed) connector(channel string) channels.Connector {
	switch b.s.target {
	case toHTTP:
		return channels.Connector{Kind: "http", Config: channels.NewRaw(map[string]any{"url": b.sinkAt + "/u/" + channel, "allow_cidrs": []string{"127.0.0.0/8"}})}
	default:
		config := map[string]any{"dialect": b.s.target, "dsn": b.database, "table": "copies", "auto_create": true, "max_batch": floorBatch}
		if b.s.target != toSQLite {
			config["allow_cidrs"] = []string{"127.0.0.0/8"}
		}
		return channels.Connector{Kind: "sql", Config: channels.NewRaw(config)}
	}
}

// fill makes the backlog.
func (b *bed) fill(ctx context.Context) error {
	n := b.s.channels
	for i := range n {
		l := load{channel: b.channelName(i), keys: max(1, b.s.keys/n), updates: b.s.updates / n, zipf: b.s.zipf, seed: 7, partial: b.s.partial}
		var err error
		if b.accepted[i], err = l.publish(ctx, b.client.JS, b.inbox); err != nil {
			return fmt.Errorf("make the backlog: %w", err)
		}
		b.want += int64(len(left(b.only(b.accepted[i]), b.s.mode)))
	}
	return nil
}

// startWorkers starts what is measured.
func (b *bed) startWorkers(ctx context.Context) error {
	for range b.s.workers {
		w, err := start(ctx, b.dir, Part{Role: roleWorker, URL: b.url, Dir: b.dir, Profile: b.profile(roleWorker)}, &address{})
		if err != nil {
			return err
		}
		b.runners = append(b.runners, w)
	}
	return nil
}

func (b *bed) startFloor(ctx context.Context, reply bool) (*process, error) {
	o := FloorOptions{Stream: wire.UpdateStream(b.client.Names, events.ToChannel(b.channelName(0))), InFlight: b.s.inFlight, Reply: reply}
	if !reply {
		o.Updates = int(b.want)
	}
	switch b.s.target {
	case toHTTP:
		o.HTTP = b.sinkAt + "/u/" + b.channelName(0)
	case toPostgres:
		o.Postgres = b.database
	case toSQLite:
		o.SQLite = b.database
	}
	if o.HTTP == "" {
		if err := makeFloorTable(ctx, o); err != nil {
			return nil, err
		}
	}
	f, err := start(ctx, b.dir, Part{Role: roleFloor, URL: b.url, Floor: o, Profile: b.profile(roleFloor)}, &address{})
	if err != nil {
		return nil, err
	}
	b.runners = append(b.runners, f)
	return f, nil
}

func (b *bed) profile(role string) string {
	if b.o.Profiles == "" {
		return ""
	}
	side := "extsync"
	if b.s.workers == 0 {
		side = "floor"
	}
	return filepath.Join(b.o.Profiles, fmt.Sprintf("%s-%s-%s.pprof", b.s.target, side, role))
}

// stopRunners ends what is measured: a worker hands over.
func (b *bed) stopRunners() error {
	var errs []error
	for _, p := range b.runners {
		errs = append(errs, p.stop())
	}
	b.runners = nil
	return errors.Join(errs...)
}

func (b *bed) close() error {
	errs := []error{b.stopRunners()}
	if b.client != nil {
		b.client.Close()
	}
	for _, p := range []*process{b.sink, b.broker} {
		if p != nil {
			errs = append(errs, p.stop())
		}
	}
	if b.dir != "" {
		errs = append(errs, os.RemoveAll(b.dir))
	}
	return errors.Join(errs...)
}
