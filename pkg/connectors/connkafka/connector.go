package connkafka

import (
	"context"
	"net"
	"strconv"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connkit"
)

// A connector writes records to one topic.
type connector struct {
	Config
	env  connectors.Env
	link *link
	ids  string // what transactional ids begin with

	life    context.Context //nolint:containedctx // lanes outlive the calls that start them
	end     context.CancelFunc
	running sync.WaitGroup // lanes, and clients that are being closed

	mu    sync.Mutex
	lanes map[string]*lane // by transactional id
	said  string           // the line about the topic that was written last
}

// Compile-time checks of what the connector offers.
var (
	_ connectors.Connector = (*connector)(nil)
	_ connectors.Batcher   = (*connector)(nil)
	_ connectors.Prober    = (*connector)(nil)
	_ connectors.Previewer = (*connector)(nil)
)

func newConnector(c Config, l *link, env connectors.Env) *connector {
	out := &connector{Config: c, env: env, link: l, ids: c.idFor(env.Channel), lanes: map[string]*lane{}}
	out.life, out.end = context.WithCancel(context.Background())
	return out
}

// MaxBatch returns the configuration's max_batch.
func (c *connector) MaxBatch() int { return c.Config.MaxBatch }

// Apply writes a record for each attempt, and waits until the cluster has taken all.
func (c *connector) Apply(ctx context.Context, attempts []connectors.Attempt) []connectors.Result {
	results := make([]connectors.Result, len(attempts))
	j := &job{done: make(chan struct{})}
	var which []int // of the attempts has each record
	for i := range attempts {
		r := c.record(&attempts[i])
		if err := c.tooLarge(r); err != nil {
			results[i] = connectors.Unasked(codeTooLong, err)
			continue
		}
		j.records, which = append(j.records, r), append(which, i)
		j.bytes += len(r.Value)
	}
	if len(which) == 0 {
		return results
	}
	for n, res := range c.write(ctx, j) {
		results[which[n]] = res
	}
	return results
}

// write has a job written by the lane of its call.
func (c *connector) write(ctx context.Context, j *job) []connectors.Result {
	ctx, cancel := connkit.Bounded(ctx, c.link.timeout)
	defer cancel()
	j.ctx = ctx
	l := c.lane(ctx)
	if l == nil {
		return c.all(len(j.records), c.life.Err(), tries{})
	}
	return l.do(j)
}

// lane returns the lane of a call, nil if the connector is closed. One for which nobody owns a
// partition has no transactions: they would fence the owner.
func (c *connector) lane(ctx context.Context) *lane {
	id := ""
	if n, owned := connectors.PartitionOf(ctx); owned && c.Fence == fencedByTransactions {
		id = c.ids + "." + strconv.Itoa(n)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.life.Err() != nil {
		return nil
	}
	l := c.lanes[id]
	if l == nil {
		l = &lane{c: c, id: id, wake: make(chan struct{}, 1)}
		l.met.Store(new(trouble))
		c.lanes[id] = l
		c.running.Go(l.run)
	}
	return l
}

// Probe looks whether the topic is there, and what it is.
func (c *connector) Probe(ctx context.Context) error {
	ctx, cancel := connkit.Bounded(ctx, c.link.timeout)
	defer cancel()
	var t trouble
	client, err := c.link.client(&t)
	if err != nil {
		return c.classify(err, tries{})
	}
	defer c.close(client)
	seen, err := c.look(ctx, client)
	if err != nil {
		return c.classify(err, t.sofar())
	}
	c.env.Note(c.line(seen))
	return nil
}

// say notes what the topic is when it is seen for the first time, or has changed.
func (c *connector) say(t topic) {
	line := c.line(t)
	c.mu.Lock()
	news := c.said != line
	c.said = line
	c.mu.Unlock()
	if news {
		c.env.Note(line)
	}
}

// Preview shows the record of an attempt.
func (c *connector) Preview(_ context.Context, a connectors.Attempt) (connectors.Preview, error) {
	r := c.record(&a)
	if err := c.tooLarge(r); err != nil {
		return connectors.Preview{}, err
	}
	headers := map[string]string{"key": string(r.Key)}
	for _, h := range r.Headers {
		headers[h.Key] = string(h.Value)
	}
	host, port, _ := net.SplitHostPort(c.Brokers[0]) // which was checked
	return connectors.Preview{Method: "PRODUCE", URL: "kafka://" + net.JoinHostPort(host, port) + "/" + c.Topic, Headers: headers, Body: r.Value}, nil
}

// close ends a client, for which nobody waits but Close.
func (c *connector) close(client *kgo.Client) { c.running.Go(client.Close) }

// Close ends all connections.
func (c *connector) Close(ctx context.Context) error {
	c.mu.Lock() // so that no lane is begun behind it
	c.end()
	c.mu.Unlock()
	over := make(chan struct{})
	go func() {
		c.running.Wait()
		close(over)
	}()
	select {
	case <-over:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
