package connkafka

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/hms-utl/extsync/pkg/connectors"
)

// A job is what one call has to write.
type job struct {
	ctx     context.Context //nolint:containedctx // of the call, which waits for the job
	records []*kgo.Record
	bytes   int
	results []connectors.Result // when done is closed
	done    chan struct{}
}

func (j *job) finish(results []connectors.Result) {
	j.results = results
	close(j.done)
}

// A lane writes what the calls of one partition of the channel bring, one group after the
// other: what has come while a group was written is the next one. So a transaction, which is
// two or three requests more, is shared by all calls that are under way.
type lane struct {
	c    *connector
	id   string // the transactional id; "" for no transactions
	wake chan struct{}

	mu   sync.Mutex
	jobs []*job

	client *kgo.Client             // of run; nil: there is none now
	met    atomic.Pointer[trouble] // by the newest client
}

// do has a job written, and waits for it as long as its call lasts, and the connector.
func (l *lane) do(j *job) []connectors.Result {
	l.mu.Lock()
	l.jobs = append(l.jobs, j)
	l.mu.Unlock()
	select {
	case l.wake <- struct{}{}:
	default: // it is awake
	}
	select {
	case <-j.done:
		return j.results
	case <-j.ctx.Done():
		return l.c.all(len(j.records), j.ctx.Err(), l.met.Load().sofar())
	case <-l.c.life.Done(): // nobody may be there any more who would take it
		return l.c.all(len(j.records), l.c.life.Err(), l.met.Load().sofar())
	}
}

// run writes until the connector is closed.
func (l *lane) run() {
	defer l.drop()
	for {
		select {
		case <-l.wake:
		case <-l.c.life.Done():
			return
		}
		for l.c.life.Err() == nil {
			// Calls that were just answered come again at once: let them, or they would write in
			// turns with those that come first.
			runtime.Gosched()
			jobs := l.take()
			if len(jobs) == 0 {
				break
			}
			l.write(jobs)
		}
	}
}

// take returns the next group of jobs. Those that nobody waits for are left out.
func (l *lane) take() []*job {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []*job
	records, bytes, n := 0, 0, 0
	for _, j := range l.jobs {
		if j.ctx.Err() == nil {
			if len(out) > 0 && (records+len(j.records) > mostGrouped || bytes+j.bytes > mostGroupedBytes) {
				break
			}
			out = append(out, j)
			records, bytes = records+len(j.records), bytes+j.bytes
		}
		n++
	}
	rest := copy(l.jobs, l.jobs[n:])
	clear(l.jobs[rest:])
	l.jobs = l.jobs[:rest]
	return out
}

// together returns a context that ends when that of each job has ended: as long as one call
// waits, the group goes on.
func (l *lane) together(jobs []*job) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(l.c.life)
	left := new(atomic.Int64)
	left.Store(int64(len(jobs)))
	stops := make([]func() bool, len(jobs))
	for i, j := range jobs {
		stops[i] = context.AfterFunc(j.ctx, func() {
			if left.Add(-1) == 0 {
				cancel()
			}
		})
	}
	return ctx, func() {
		for _, stop := range stops {
			stop()
		}
		cancel()
	}
}

// write writes a group of jobs, and tells each what came of it.
func (l *lane) write(jobs []*job) {
	ctx, done := l.together(jobs)
	defer done()
	if err := l.ready(ctx); err != nil {
		l.drop()
		l.fail(jobs, err)
		return
	}
	// The broker refuses everything of producers that were announced before ours. Whoever
	// still has the partition now that ours is announced had it then, so nobody has begun
	// after whom we must not write; and whoever begins later fences ours.
	jobs = l.owned(jobs)
	var records []*kgo.Record
	for _, j := range jobs {
		records = append(records, j.records...)
	}
	if len(records) == 0 {
		return
	}
	errs, err := l.produce(ctx, records)
	if err == nil && len(records) > 1 {
		err = l.alone(ctx, records, errs)
	}
	if err != nil {
		l.drop()
	}
	l.tell(jobs, errs, err)
}

// tell gives each job the results of its records. Those of which nothing is known have failed
// with err.
func (l *lane) tell(jobs []*job, errs []error, err error) {
	seen := l.met.Load().sofar()
	for _, j := range jobs {
		results := make([]connectors.Result, len(j.records))
		for i := range j.records {
			cause := err
			if len(errs) > 0 {
				cause = errs[0]
				errs = errs[1:]
			}
			if cause == nil {
				results[i] = connectors.Done()
				continue
			}
			results[i] = l.c.failed(cause, seen)
		}
		j.finish(results)
	}
}

// ready makes and announces a producer, if there is none, and looks at the topic.
func (l *lane) ready(ctx context.Context) error {
	if l.client != nil {
		return nil
	}
	met := new(trouble)
	client, err := l.c.link.client(met, l.c.link.producer(&l.c.Config, l.id)...)
	if err != nil {
		return err
	}
	l.client = client
	l.met.Store(met)
	if l.id != "" {
		if _, _, err := client.ProducerID(ctx); err != nil {
			return err
		}
	}
	seen, err := l.c.look(ctx, client)
	if err == nil {
		l.c.say(seen)
	}
	return err
}

// errNotOwned says that a call must not be begun any more.
var errNotOwned = errors.New("the partition of the channel is another worker's now")

// owned returns the jobs that may be begun still, and fails the others.
func (l *lane) owned(jobs []*job) []*job {
	var out []*job
	for _, j := range jobs {
		by := connectors.BeginBy(j.ctx)
		switch {
		case j.ctx.Err() != nil:
			l.fail([]*job{j}, j.ctx.Err())
		case !by.IsZero() && !time.Now().Before(by):
			l.fail([]*job{j}, errNotOwned)
		default:
			out = append(out, j)
		}
	}
	return out
}

func (l *lane) fail(jobs []*job, err error) {
	for _, j := range jobs {
		j.finish(l.c.all(len(j.records), err, l.met.Load().sofar()))
	}
}

// A reply collects what came of records.
type reply struct {
	errs []error
	left atomic.Int64
	done chan struct{}
}

// produce writes records, in a transaction if the lane has them, and returns what came of
// each. If there is an error instead, nothing is known of any, and the producer is of no use.
func (l *lane) produce(ctx context.Context, records []*kgo.Record) ([]error, error) {
	if l.id != "" {
		if err := l.client.BeginTransaction(); err != nil {
			return nil, err
		}
	}
	out := &reply{errs: make([]error, len(records)), done: make(chan struct{})}
	out.left.Store(int64(len(records)))
	for i, r := range records {
		l.client.Produce(ctx, r, func(_ *kgo.Record, err error) {
			out.errs[i] = err
			if out.left.Add(-1) == 0 {
				close(out.done)
			}
		})
	}
	select {
	case <-out.done:
	case <-ctx.Done(): // a record that was sent is waited for until the client is closed
		return nil, ctx.Err()
	}
	if l.id == "" {
		return out.errs, nil
	}
	written, refused := 0, true
	for _, err := range out.errs {
		switch {
		case err == nil:
			written++
		case isProducer(err):
			return nil, err // it must not recover by itself: that would fence a successor
		case !isRecord(err):
			refused = false
		}
	}
	how := kgo.TryCommit
	if written == 0 {
		if !refused {
			return nil, out.errs[0]
		}
		how = kgo.TryAbort
	}
	if err := l.client.EndTransaction(ctx, how); err != nil {
		return nil, err
	}
	return out.errs, nil
}

// alone writes those records once more, each by itself, that the broker has refused with
// others in a batch: only the bad one is to fail.
func (l *lane) alone(ctx context.Context, records []*kgo.Record, errs []error) error {
	for i, err := range errs {
		if err == nil || !isRecord(err) {
			continue
		}
		again, err := l.produce(ctx, records[i:i+1])
		if err != nil {
			for n := i; n < len(errs); n++ {
				if errs[n] != nil && isRecord(errs[n]) {
					errs[n] = err
				}
			}
			return err
		}
		errs[i] = again[0]
	}
	return nil
}

// drop lets the producer go, with all that it has not been answered.
func (l *lane) drop() {
	if l.client != nil {
		l.c.close(l.client)
		l.client = nil
	}
}
