package delivery

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/pkg/events"
)

// Causes for which the context of a lease ends.
var (
	errLeaseLost    = errors.New("the lease of the shard was lost")
	errLeaseLapsed  = errors.New("the lease of the shard could not be renewed in time")
	errLeaseHeld    = errors.New("the shard is leased to another worker")
	errShuttingDown = errors.New("the worker is shutting down")
)

// leaseRecord is the form of a lease in the bucket. An empty Owner marks a shard
// that was handed over: free, but its key keeps the revision.
type leaseRecord struct {
	Format int    `json:"f"`
	Owner  string `json:"owner"`
}

// releasedTTL is how long the mark of a handed-over shard stays.
const releasedTTL = time.Minute

// A lease is the right to work on a shard. Its context ends no later than the
// moment from which another worker may get it: that is the fence in front of
// every call to a target (guarantee 2).
type lease struct {
	shard int
	epoch uint64 // revision under which the lease was got; never used again
	ctx   context.Context
	end   context.CancelCauseFunc

	tenures  atomic.Uint64 // begun under it, of all partitions of the shard
	mu       sync.Mutex
	revision uint64
	deadline time.Time
	timer    *time.Timer
	// leaving: the shard goes to another worker once its partitions have
	// drained. Owned by the manager.
	leaving bool
}

// leaser gets, renews and gives back leases of one worker.
type leaser struct {
	js     jetstream.JetStream
	kv     jetstream.KeyValue
	bucket string
	owner  string
	ttl    time.Duration
	// margin is how long before the broker forgets a lease its owner stops.
	margin time.Duration
}

func (l *leaser) subject(shard int) string {
	return events.KVSubject(l.bucket, strconv.Itoa(shard))
}

// acquire gets the lease of a shard that nobody holds, else errLeaseHeld. The
// lease ends with parent.
func (l *leaser) acquire(parent context.Context, shard int) (*lease, error) {
	started := time.Now()
	revision, err := l.write(parent, shard, l.owner, 0, l.ttl)
	if events.IsWrongSequence(err) {
		rec, free, rerr := l.read(parent, shard)
		if rerr != nil {
			return nil, rerr
		}
		if rec.Owner != "" {
			return nil, errLeaseHeld
		}
		started = time.Now()
		revision, err = l.write(parent, shard, l.owner, free, l.ttl)
	}
	if events.IsWrongSequence(err) {
		return nil, errLeaseHeld
	}
	if err != nil {
		return nil, fmt.Errorf("acquire shard %d: %w", shard, err)
	}
	ctx, end := context.WithCancelCause(parent)
	got := &lease{shard: shard, epoch: revision, ctx: ctx, end: end, revision: revision}
	got.extend(started.Add(l.ttl-l.margin), revision)
	return got, nil
}

// read returns a shard's lease record and its revision, 0 if there is none.
func (l *leaser) read(ctx context.Context, shard int) (leaseRecord, uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, l.ttl/4)
	defer cancel()
	e, err := l.kv.Get(ctx, strconv.Itoa(shard))
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return leaseRecord{}, 0, nil
	}
	if err != nil {
		return leaseRecord{}, 0, fmt.Errorf("read lease %d: %w", shard, err)
	}
	var rec leaseRecord
	if err := json.Unmarshal(e.Value(), &rec); err != nil {
		return leaseRecord{}, 0, fmt.Errorf("lease %d: %w", shard, err)
	}
	return rec, e.Revision(), events.CheckFormat(rec.Format)
}

// write stores a lease record by compare-and-set, with a lifetime. The bucket
// API would drop the lifetime on every update.
func (l *leaser) write(ctx context.Context, shard int, owner string, expect uint64, ttl time.Duration) (uint64, error) {
	data, err := json.Marshal(leaseRecord{Format: events.Format, Owner: owner})
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, l.ttl/4)
	defer cancel()
	ack, err := l.js.Publish(ctx, l.subject(shard), data, jetstream.WithMsgTTL(ttl),
		jetstream.WithExpectLastSequencePerSubject(expect), jetstream.WithRetryAttempts(0))
	if err != nil {
		return 0, err
	}
	return ack.Sequence, nil
}

// renew extends a lease. If another worker has it, the lease ends at once; if the
// broker does not answer, it ends when its time is over.
func (l *leaser) renew(ctx context.Context, le *lease) error {
	started := time.Now() // before the request: the broker counts from a later moment
	revision, err := l.write(ctx, le.shard, l.owner, le.currentRevision(), l.ttl)
	if events.IsWrongSequence(err) {
		// It may be our own renewal whose answer was lost: ids are never shared.
		rec, ours, rerr := l.read(ctx, le.shard)
		if rerr != nil {
			return rerr
		}
		if rec.Owner != l.owner {
			le.stop(errLeaseLost)
			return fmt.Errorf("renew shard %d: %w", le.shard, errLeaseLost)
		}
		started = time.Now()
		revision, err = l.write(ctx, le.shard, l.owner, ours, l.ttl)
	}
	if err != nil {
		return fmt.Errorf("renew shard %d: %w", le.shard, err)
	}
	le.extend(started.Add(l.ttl-l.margin), revision)
	return nil
}

// release hands the shard over and ends the lease. Nothing may work on the shard
// any more.
func (l *leaser) release(ctx context.Context, le *lease) error {
	lapsed := !le.alive()
	le.stop(errShuttingDown)
	if lapsed {
		return nil
	}
	if _, err := l.write(ctx, le.shard, "", le.currentRevision(), releasedTTL); err != nil {
		return fmt.Errorf("release shard %d: %w", le.shard, err)
	}
	return nil
}

func (le *lease) currentRevision() uint64 {
	le.mu.Lock()
	defer le.mu.Unlock()
	return le.revision
}

func (le *lease) extend(deadline time.Time, revision uint64) {
	le.mu.Lock()
	defer le.mu.Unlock()
	le.deadline, le.revision = deadline, revision
	if le.timer != nil {
		le.timer.Stop()
	}
	le.timer = time.AfterFunc(time.Until(deadline), le.lapse)
}

// lapse ends the lease if it was not extended meanwhile.
func (le *lease) lapse() {
	if !le.alive() {
		le.end(errLeaseLapsed)
	}
}

// alive reports whether the lease's time is not over. It is asked before every
// call to a target: a process that was frozen runs on before its timers do.
func (le *lease) alive() bool {
	le.mu.Lock()
	defer le.mu.Unlock()
	return time.Now().Before(le.deadline)
}

// stop ends the lease for good.
func (le *lease) stop(cause error) {
	le.end(cause)
	le.mu.Lock()
	defer le.mu.Unlock()
	if le.timer != nil {
		le.timer.Stop()
	}
}
