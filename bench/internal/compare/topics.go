package compare

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/publish"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// TopicsOptions say what Topics measures.
type TopicsOptions struct {
	Channels []int // that read a topic, one measurement after the other
	Updates  int   // deliveries of each, of all channels together
	Keys     int   // that the topic has when a channel is added
	Dir      string
	Progress io.Writer
}

// ErrTopics says that there is nothing to measure.
var ErrTopics = errors.New("topics")

// A FanOut is what a delivery takes where so many channels get each update.
type FanOut struct {
	Channels      int
	Topic, Single Speed // from one topic, and from a stream for each channel
}

// A Filling is how a channel that is added gets what its topic has.
type Filling struct {
	Keys          int
	Rate          float64 // keys a second
	Worker        int64   // memory of the worker at most, in bytes
	Live, After   [2]time.Duration
	LiveN, AfterN int
}

// A TopicsReport has a FanOut for each number of channels.
type TopicsReport struct {
	Machine string
	Load    string // the machine's load average, before and after
	FanOuts []FanOut
	Filling Filling
}

// benchTopic is the topic of the benchmark.
const benchTopic = "bench"

// fillDelay is how long the target takes for each call while a channel is filled: with one
// that takes no time, what is measured is who gets the processors.
const fillDelay = 5 * time.Millisecond

// Topics measures channels that read a topic.
func Topics(ctx context.Context, o TopicsOptions) (report TopicsReport, err error) {
	if len(o.Channels) == 0 || slices.Min(o.Channels) < 1 || o.Updates < slices.Max(o.Channels) || o.Keys < 1 {
		return report, fmt.Errorf("%w: give numbers of channels from 1, an update or more for each, and a key or more", ErrTopics)
	}
	report = TopicsReport{Machine: machine(), Load: loadAverage()}
	for _, n := range o.Channels {
		f := FanOut{Channels: n}
		for _, side := range []struct {
			speed *Speed
			topic bool
		}{{&f.Topic, true}, {&f.Single, false}} {
			if *side.speed, err = fanOut(ctx, o, n, side.topic); err != nil {
				return report, fmt.Errorf("%d channels, topic %t: %w", n, side.topic, err)
			}
			if _, err := fmt.Fprintf(o.Progress, "%d channels, topic %t: %s\n", n, side.topic, side.speed); err != nil {
				return report, err
			}
		}
		report.FanOuts = append(report.FanOuts, f)
	}
	if report.Filling, err = filling(ctx, o); err != nil {
		return report, fmt.Errorf("a channel that is added: %w", err)
	}
	report.Load += " to " + loadAverage()
	return report, nil
}

// topicBed is a bed whose channels are made later.
func topicBed(ctx context.Context, o TopicsOptions, sink SinkOptions) (*sizer, error) {
	s := setup{mode: channels.Latest, keys: 1, updates: 1, target: toHTTP, inFlight: 16, workers: 1, sink: sink}
	b, err := newBed(ctx, &Options{Dir: o.Dir, Progress: o.Progress}, s, nil)
	if err != nil {
		return nil, err
	}
	return &sizer{bed: b}, nil
}

// apply makes n channels, which read the topic or have streams of their own.
func (z *sizer) apply(ctx context.Context, n int, topic bool, size channels.Bytes) error {
	var file channels.File
	if topic {
		file.Topics = []channels.Topic{{Name: benchTopic, MaxBytes: size}}
	}
	for i := range n {
		name := fmt.Sprintf("reader%d", i)
		c := channels.Config{Name: name, Concurrency: z.s.inFlight, MaxBytes: size, Connector: z.connector(name)}
		if topic {
			c.From = &channels.From{Topic: benchTopic}
		}
		file.Channels = append(file.Channels, c.WithDefaults())
	}
	_, err := z.client.Apply(ctx, file, false)
	return err
}

// publishAll publishes the first version of so many keys to routes.
func (z *sizer) publishAll(ctx context.Context, p *publish.Publisher, keys int, reply string, routes ...events.Route) error {
	updates := iter.Seq[events.Update](func(yield func(events.Update) bool) {
		for k := range keys {
			for _, r := range routes {
				u := events.Update{
					Topic: r.Topic(), Key: fmt.Sprintf("entity-%07d", k), Version: versioning.Must(versioning.Number(1)),
					Payload: fmt.Appendf(nil, `{"text":%q}`, strings.Repeat("x", 280)), ReplyTo: reply, ReplyLines: reply != "",
				}
				if u.Topic == "" {
					u.Channel = r.Name()
				}
				if !yield(u) {
					return
				}
			}
		}
	})
	for _, err := range p.PublishAll(ctx, updates, 256) {
		if err != nil {
			return err
		}
	}
	return nil
}

// acked waits for so many acks more than there were, and returns how long that took.
func (z *sizer) acked(ctx context.Context, from time.Time, before, n int64) (time.Duration, error) {
	for z.acks.Load()-before < n {
		select {
		case <-ctx.Done():
			return 0, fmt.Errorf("%w: %d of %d acks", errWrong, z.acks.Load()-before, n)
		case <-time.After(5 * time.Millisecond):
		}
	}
	return time.Since(from), nil
}

// fanOut measures deliveries to n channels, publishing included.
func fanOut(ctx context.Context, o TopicsOptions, n int, topic bool) (_ Speed, err error) {
	ctx, cancel := context.WithTimeout(ctx, sizingPatience)
	defer cancel()
	z, err := topicBed(ctx, o, SinkOptions{})
	if err != nil {
		return Speed{}, err
	}
	defer func() { err = errors.Join(err, z.close()) }()
	keys := o.Updates / n
	if err := z.apply(ctx, n, topic, channels.Bytes(max(4<<20, int64(keys)<<11))); err != nil {
		return Speed{}, err
	}
	p, err := publish.New(ctx, z.client.JS, z.client.Names)
	if err != nil {
		return Speed{}, err
	}
	routes := []events.Route{events.ToTopic(benchTopic)}
	if !topic {
		routes = routes[:0]
		for i := range n {
			routes = append(routes, events.ToChannel(fmt.Sprintf("reader%d", i)))
		}
	}
	if err := z.startWorkers(ctx); err != nil {
		return Speed{}, err
	}
	z.s.keys = keys * n
	return z.timed(func() (time.Duration, error) {
		from := time.Now()
		if err := z.publishAll(ctx, p, keys, z.inbox, routes...); err != nil {
			return 0, err
		}
		return z.acked(ctx, from, 0, int64(keys*n))
	})
}

// filling measures a channel that is added to a topic that has many keys.
func filling(ctx context.Context, o TopicsOptions) (f Filling, err error) {
	ctx, cancel := context.WithTimeout(ctx, sizingPatience)
	defer cancel()
	z, err := topicBed(ctx, o, SinkOptions{Delay: fillDelay})
	if err != nil {
		return f, err
	}
	defer func() { err = errors.Join(err, z.close()) }()
	f.Keys = o.Keys
	size := channels.Bytes(max(4<<20, int64(o.Keys)<<11))
	if err := z.apply(ctx, 0, true, size); err != nil {
		return f, err
	}
	p, err := publish.New(ctx, z.client.JS, z.client.Names)
	if err != nil {
		return f, err
	}
	if err := z.publishAll(ctx, p, o.Keys, "", events.ToTopic(benchTopic)); err != nil {
		return f, err
	}
	if err := z.startWorkers(ctx); err != nil {
		return f, err
	}
	from := time.Now()
	if err := z.apply(ctx, 1, true, size); err != nil {
		return f, err
	}
	registry, err := z.client.Registry(ctx)
	if err != nil {
		return f, err
	}
	var live []time.Duration
	for n := int64(1); ; n++ {
		took, err := z.one(ctx, p, n)
		if err != nil {
			return f, err
		}
		live = append(live, took)
		status, err := registry.ResyncStatus(ctx, "reader0")
		if err != nil {
			return f, err
		}
		if status.State == channels.ResyncDone {
			break
		}
	}
	f.Rate = float64(o.Keys) / time.Since(from).Seconds()
	f.LiveN, f.AfterN = max(1, len(live)-1), min(max(50, len(live)-1), 3000)
	live = live[:f.LiveN] // the last one may have found it done, and the first one waited for the worker
	if len(live) > 1 {
		live = live[1:]
	}
	var after []time.Duration
	for n := range int64(f.AfterN) {
		took, err := z.one(ctx, p, int64(1_000_000)+n)
		if err != nil {
			return f, err
		}
		after = append(after, took)
	}
	f.Live, f.After = spread(live), spread(after)
	u, err := z.runners[0].usage()
	f.Worker = u.Peak
	return f, err
}

// one publishes an update and returns how long it takes to its ack.
func (z *sizer) one(ctx context.Context, p *publish.Publisher, version int64) (time.Duration, error) {
	before, from := z.acks.Load(), time.Now()
	u := events.Update{
		Topic: benchTopic, Key: "live", Version: versioning.Must(versioning.Number(version)), Payload: []byte(`{}`), ReplyTo: z.inbox, ReplyLines: true,
	}
	if _, err := p.Publish(ctx, u); err != nil {
		return 0, err
	}
	for z.acks.Load() == before {
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-time.After(100 * time.Microsecond):
		}
	}
	return time.Since(from), nil
}

// spread returns the median and the 99th percentile.
func spread(all []time.Duration) [2]time.Duration {
	slices.Sort(all)
	return [2]time.Duration{all[len(all)/2], all[len(all)*99/100]}
}

// Markdown writes the tables of docs/performance.md.
func (r *TopicsReport) Markdown(out io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, load %s\n\n| channels | deliveries from one topic | from streams of their own |\n|---|---|---|\n", r.Machine, r.Load)
	for _, f := range r.FanOuts {
		fmt.Fprintf(&b, "| %d | %s | %s |\n", f.Channels, f.Topic, f.Single)
	}
	f := &r.Filling
	ms := func(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond)) }
	fmt.Fprintf(&b, "\n| keys of the topic | filled | worker, most | ack meanwhile, median and 99 %% | afterwards |\n|---|---|---|---|---|\n| %s | %s/s | %d MB | %s, %s | %s, %s |\n",
		thousands(float64(f.Keys)), thousands(f.Rate), f.Worker/1_000_000, ms(f.Live[0]), ms(f.Live[1]), ms(f.After[0]), ms(f.After[1]))
	_, err := io.WriteString(out, b.String())
	return err
}
