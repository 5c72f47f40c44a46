package compare

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/pkg/events"
)

// FloorOptions say what a floor loop delivers, and where.
type FloorOptions struct {
	Stream   string `json:"stream"`
	Updates  int    `json:"updates"`             // after which it is done; 0: never
	InFlight int    `json:"in_flight,omitempty"` // HTTP calls, or connections
	HTTP     string `json:"http,omitempty"`
	Postgres string `json:"postgres,omitempty"`
	SQLite   string `json:"sqlite,omitempty"`
	Reply    bool   `json:"reply,omitempty"` // tell the publisher
}

const (
	floorBatch    = 500
	floorLinger   = 2 * time.Millisecond
	floorPull     = 1000
	floorInFlight = 20_000
	// The client can forget to ask for more until it misses heartbeats (see
	// events.NextMessage). By default that is after 30 s, when the broker has removed
	// the consumer as one that nobody uses: the loop would stand still for good.
	floorHeartbeat = 500 * time.Millisecond
	attribute      = "ce-" // begins the name of a header that is an attribute of an event
)

// span is when a loop's first and last deliveries were confirmed.
type span struct {
	First time.Time `json:"first"`
	Last  time.Time `json:"last"`
}

// runFloor is the smallest loop that delivers a stream: no order, no ledger, no
// ack to the publisher, no fence. It writes a line when it starts and one when
// it is done, and then waits to be ended.
func runFloor(ctx context.Context, p Part, out io.Writer) error {
	nc, err := nats.Connect(p.URL)
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	c, err := js.CreateConsumer(ctx, p.Floor.Stream, jetstream.ConsumerConfig{
		AckPolicy: jetstream.AckExplicitPolicy, MaxAckPending: floorInFlight, MemoryStorage: true,
	})
	if err != nil {
		return err
	}
	enc := json.NewEncoder(out)
	if err := enc.Encode(address{}); err != nil {
		return err
	}
	f := &floor{o: p.Floor, nc: nc, done: make(chan struct{})}
	deliver, closeTarget, err := f.target(ctx)
	if err != nil {
		return err
	}
	defer closeTarget()
	if err := f.run(ctx, c, deliver); err != nil || ctx.Err() != nil {
		return err
	}
	if err := enc.Encode(f.span); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

type floor struct {
	o    FloorOptions
	nc   *nats.Conn
	done chan struct{}

	mu    sync.Mutex
	count int
	span  span
	err   error
}

// run feeds the loop's goroutines from the consumer until all is delivered.
func (f *floor) run(ctx context.Context, c jetstream.Consumer, deliver func(context.Context, []jetstream.Msg) error) error {
	feed := make(chan jetstream.Msg, floorPull)
	consuming, err := c.Consume(func(m jetstream.Msg) {
		select {
		case feed <- m:
		case <-ctx.Done():
		}
	}, jetstream.PullMaxMessages(floorPull), jetstream.PullHeartbeat(floorHeartbeat))
	if err != nil {
		return err
	}
	defer consuming.Stop()
	most := 1
	if f.o.HTTP == "" {
		most = floorBatch
	}
	for range f.o.InFlight {
		go f.loop(ctx, feed, most, deliver)
	}
	select {
	case <-ctx.Done():
		return nil
	case <-f.done:
	}
	return f.err
}

func (f *floor) loop(ctx context.Context, feed <-chan jetstream.Msg, most int, deliver func(context.Context, []jetstream.Msg) error) {
	for {
		batch := gather(ctx, feed, most)
		if batch == nil {
			return
		}
		err := deliver(ctx, batch)
		for _, m := range batch {
			if err == nil {
				err = m.Ack()
			}
			if to := m.Headers().Get(events.HeaderReplyTo); f.o.Reply && to != "" && err == nil {
				err = f.nc.Publish(to, nil)
			}
		}
		if f.delivered(len(batch), err) || ctx.Err() != nil {
			return
		}
	}
}

// gather waits for one message and takes what else comes soon.
func gather(ctx context.Context, feed <-chan jetstream.Msg, most int) []jetstream.Msg {
	var batch []jetstream.Msg
	select {
	case <-ctx.Done():
		return nil
	case m := <-feed:
		batch = append(batch, m)
	}
	if most == 1 {
		return batch
	}
	linger := time.NewTimer(floorLinger)
	defer linger.Stop()
	for len(batch) < most {
		select {
		case m := <-feed:
			batch = append(batch, m)
		case <-linger.C:
			return batch
		}
	}
	return batch
}

// delivered counts and reports whether the loop is done.
func (f *floor) delivered(n int, err error) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.span.Last = time.Now()
	if f.count == 0 {
		f.span.First = f.span.Last
	}
	before := f.count
	f.count += n
	all := f.o.Updates > 0 && f.count >= f.o.Updates
	if f.err == nil && err != nil || all && before < f.o.Updates && f.err == nil {
		f.err = err
		close(f.done)
	}
	return all || err != nil
}

func (f *floor) target(ctx context.Context) (func(context.Context, []jetstream.Msg) error, func(), error) {
	switch {
	case f.o.HTTP != "":
		client := &http.Client{Transport: &http.Transport{MaxIdleConns: f.o.InFlight, MaxIdleConnsPerHost: f.o.InFlight, DisableCompression: true}}
		return func(ctx context.Context, b []jetstream.Msg) error { return f.post(ctx, client, b[0]) }, client.CloseIdleConnections, nil
	case f.o.Postgres != "":
		cfg, err := pgxpool.ParseConfig(f.o.Postgres)
		if err != nil {
			return nil, nil, err
		}
		cfg.MaxConns = int32(f.o.InFlight) //nolint:gosec // single digits
		pool, err := pgxpool.NewWithConfig(ctx, cfg)
		if err != nil {
			return nil, nil, err
		}
		return func(ctx context.Context, b []jetstream.Msg) error { return upsert(ctx, pool, b) }, pool.Close, nil
	default:
		db, err := sql.Open("sqlite", "file:"+f.o.SQLite+"?_pragma=busy_timeout(10000)&_pragma=journal_mode(wal)&_pragma=synchronous(full)")
		if err != nil {
			return nil, nil, err
		}
		db.SetMaxOpenConns(1)
		return func(ctx context.Context, b []jetstream.Msg) error { return upsertSQLite(ctx, db, b) }, func() { _ = db.Close() }, nil
	}
}

// post sends an update as the HTTP binding of CloudEvents has it: with all of the
// event's attributes, for a request without its id, source and type is none.
func (f *floor) post(ctx context.Context, client *http.Client, m jetstream.Msg) (err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, f.o.HTTP, bytes.NewReader(m.Data()))
	if err != nil {
		return err
	}
	for name, values := range m.Headers() {
		if f.sends(name) {
			req.Header.Set(name, values[0])
		}
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, res.Body.Close()) }()
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		return err
	}
	if res.StatusCode >= http.StatusMultipleChoices {
		return fmt.Errorf("the sink answered %d", res.StatusCode)
	}
	return nil
}

// sends reports whether a header of a message goes into its request.
func (f *floor) sends(name string) bool {
	return strings.HasPrefix(name, attribute)
}
