package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/hms-utl/extsync/internal/testdb"
	"github.com/hms-utl/extsync/pkg/events"
)

const latencyRate = 200 // updates a second

// latency measures how long an ack takes from the push, at a steady rate.
func latency(ctx context.Context, o *Options, s setup, pg *testdb.Server) (m Measure, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	b, err := newBed(ctx, o, s, pg)
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	if err := b.snapshot(); err != nil {
		return m, err
	}
	if s.workers > 0 {
		err = b.startWorkers(ctx)
	} else {
		_, err = b.startFloor(ctx, true)
	}
	if err != nil {
		return m, err
	}
	took, err := b.pushAll(ctx, s)
	if err != nil {
		return m, err
	}
	slices.Sort(took)
	if m, err = b.measure(latencyRate, time.Duration(s.updates)*time.Second/latencyRate, s.updates); err != nil {
		return m, err
	}
	m.P50, m.P99 = took[len(took)/2], took[len(took)*99/100]
	return m, nil
}

// pushAll publishes at the rate and returns the time that each ack took. The
// first updates are to wake everybody up and do not count.
func (b *bed) pushAll(ctx context.Context, s setup) ([]time.Duration, error) {
	const warm = 20
	var mu sync.Mutex
	var took []time.Duration
	var got atomic.Int64
	pushed := make([]atomic.Int64, s.updates+warm)
	prefix := nats.NewInbox()
	sub, err := b.nc.Subscribe(prefix+".*", func(msg *nats.Msg) {
		now := time.Now().UnixNano()
		var i int
		if _, err := fmt.Sscanf(msg.Subject[len(prefix)+1:], "%d", &i); err != nil || i >= len(pushed) {
			return
		}
		if at := pushed[i].Swap(0); at != 0 {
			if i >= warm {
				mu.Lock()
				took = append(took, time.Duration(now-at))
				mu.Unlock()
			}
			got.Add(1)
		}
	})
	if err != nil {
		return nil, err
	}
	defer func() { _ = sub.Unsubscribe() }() // the connection ends soon
	pub, err := b.client.Publisher(ctx)
	if err != nil {
		return nil, err
	}
	beat := time.NewTicker(time.Second / latencyRate)
	defer beat.Stop()
	i := 0
	group, gctx := errgroup.WithContext(ctx)
	err = load{channel: b.channelName(0), keys: s.keys, updates: s.updates + warm}.each("", func(u events.Update) error {
		n := i
		i++
		u.ReplyTo = fmt.Sprintf("%s.%d", prefix, n)
		if n == 1 { // the worker is there once the first ack is
			for got.Load() == 0 {
				if err := pause(ctx); err != nil {
					return fmt.Errorf("no ack came: %w", err)
				}
			}
		}
		<-beat.C
		pushed[n].Store(time.Now().UnixNano())
		group.Go(func() error {
			_, err := pub.Publish(gctx, u)
			return err
		})
		return nil
	})
	if err := errors.Join(err, group.Wait()); err != nil {
		return nil, err
	}
	for got.Load() < int64(s.updates+warm) {
		if err := pause(ctx); err != nil {
			return nil, fmt.Errorf("%d acks came: %w", got.Load(), err)
		}
	}
	return took, nil
}

// publishing is what a publishing part does.
type publishing struct {
	Guarded bool `json:"guarded"`
	Keys    int  `json:"keys"`
	Updates int  `json:"updates"`
	AtOnce  int  `json:"at_once"`
}

// publishRate measures how fast updates are published: by the publisher with its
// guard, or by PublishAsync with the same headers and an expected sequence.
func publishRate(ctx context.Context, o *Options, s setup, pg *testdb.Server) (m Measure, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	b, err := newBed(ctx, o, s, pg)
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	if err := b.snapshot(); err != nil {
		return m, err
	}
	p, err := start(ctx, b.dir, Part{
		Role: rolePublish, URL: b.url, Profile: b.profile(rolePublish),
		Publish: publishing{Guarded: s.workers > 0, Keys: s.keys, Updates: s.updates, AtOnce: s.inFlight},
	}, &address{})
	if err != nil {
		return m, err
	}
	b.runners = append(b.runners, p)
	var over span
	if err := p.read(&over); err != nil {
		return m, err
	}
	stream, err := b.client.JS.Stream(ctx, b.client.Names.UpdateStream(b.channelName(0)))
	if err != nil {
		return m, err
	}
	if got := stream.CachedInfo().State.LastSeq; got != uint64(s.updates) {
		return m, fmt.Errorf("%w: the stream has taken %d updates instead of %d", errWrong, got, s.updates)
	}
	took := over.Last.Sub(over.First)
	return b.measure(float64(s.updates)/took.Seconds(), took, s.updates)
}

func runPublishing(ctx context.Context, p Part, out io.Writer) error {
	nc, err := nats.Connect(p.URL)
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(p.Publish.AtOnce))
	if err != nil {
		return err
	}
	enc := json.NewEncoder(out)
	if err := enc.Encode(address{}); err != nil {
		return err
	}
	run := publishBare
	if p.Publish.Guarded {
		run = publishGuarded
	}
	over := span{First: time.Now()}
	if err := run(ctx, js, p.Publish); err != nil {
		return err
	}
	over.Last = time.Now()
	if err := enc.Encode(over); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

func (p publishing) load() load { return load{channel: "bench0", keys: p.Keys, updates: p.Updates} }

func publishGuarded(ctx context.Context, js jetstream.JetStream, p publishing) error {
	pub, err := events.NewPublisher(ctx, js, events.DefaultNames())
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	feeds := make([]chan events.Update, p.AtOnce) // each has keys of its own, in order
	for i := range feeds {
		feeds[i] = make(chan events.Update, 16)
		group.Go(func() error {
			for u := range feeds[i] {
				if _, err := pub.Publish(ctx, u); err != nil {
					return err
				}
			}
			return nil
		})
	}
	n := 0
	err = p.load().each("", func(u events.Update) error {
		feed := feeds[n%p.Keys%p.AtOnce]
		n++
		select {
		case feed <- u:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	for _, feed := range feeds {
		close(feed)
	}
	return errors.Join(err, group.Wait())
}

// publishBare knows every sequence in advance: nobody else publishes.
func publishBare(ctx context.Context, js jetstream.JetStream, p publishing) error {
	names := events.DefaultNames()
	last := map[string]uint64{}
	futures := make([]jetstream.PubAckFuture, 0, p.Updates)
	n := uint64(0)
	err := p.load().each("", func(u events.Update) error {
		msg, err := events.Encode(names, u)
		if err != nil {
			return err
		}
		n++
		future, err := js.PublishMsgAsync(msg, jetstream.WithExpectLastSequencePerSubject(last[u.Key]), jetstream.WithStallWait(time.Minute))
		last[u.Key] = n
		futures = append(futures, future)
		return err
	})
	if err != nil {
		return err
	}
	for _, f := range futures {
		select {
		case <-f.Ok():
		case err := <-f.Err():
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// hold measures what a worker needs while it has a backlog, or nothing, to do.
func hold(ctx context.Context, o *Options, s setup, pg *testdb.Server) (m Measure, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	b, err := newBed(ctx, o, s, pg)
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	if err := b.fill(ctx); err != nil {
		return m, err
	}
	if err := b.startWorkers(ctx); err != nil {
		return m, err
	}
	if s.updates == 0 { // let it take over everything first
		if err := b.settle(ctx, s.peek); err != nil {
			return m, err
		}
		if err := b.snapshot(); err != nil {
			return m, err
		}
	}
	from := time.Now()
	for time.Since(from) < s.peek && (s.updates == 0 || b.acks.Load() < int64(s.updates)) {
		if err := pause(ctx); err != nil {
			return m, err
		}
	}
	took := time.Since(from)
	done := int(b.acks.Load())
	m, err = b.measure(float64(done)/took.Seconds(), took, max(1, done))
	if s.updates == 0 { // shares of a core instead
		for name, cpu := range m.CPU {
			m.CPU[name] = cpu / 1000 / took.Seconds()
		}
	}
	return m, err
}

// settle waits until every channel has been taken over, then a little longer.
func (b *bed) settle(ctx context.Context, most time.Duration) error {
	until := time.Now().Add(5 * most)
	for calm := 0; calm < 50 && time.Now().Before(until); {
		before, err := b.cpu()
		if err != nil {
			return err
		}
		if err := pause(ctx); err != nil {
			return err
		}
		after, err := b.cpu()
		if err != nil {
			return err
		}
		if calm++; after[roleWorker]-before[roleWorker] > tick {
			calm = 0
		}
	}
	return nil
}
