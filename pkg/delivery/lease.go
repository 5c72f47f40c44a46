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
	Format  int    `json:"f"`
	Owner   string `json:"owner"`
	Session string `json:"session,omitempty"` // tells two processes of one name apart
	TTL     int    `json:"ttl,omitempty"`     // in seconds
	// Incarnation is that of the installation for its owner.
	Incarnation events.Incarnation `json:"incarnation"`
}

// A storedLease is the newest record of a shard's lease; the zero one: there is none.
type storedLease struct {
	leaseRecord
	revision uint64
	stored   time.Time // by the broker's clock
	marker   bool      // a purge marker: somebody ended the lease by hand
}

// A heldError is an errLeaseHeld that may be over soon.
type heldError struct {
	lapses time.Duration // after which the lease has lapsed, unless it is renewed
}

func (e *heldError) Error() string { return errLeaseHeld.Error() }
func (e *heldError) Unwrap() error { return errLeaseHeld }

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

// leaser gets, renews and gives back leases of one worker. Look and acquire are
// for one goroutine; the others may be called concurrently.
type leaser struct {
	js      jetstream.JetStream
	bucket  string
	owner   string
	session string
	// incarnation is that of the installation when the worker started.
	incarnation events.Incarnation
	ttl         time.Duration
	// margin is how long before others may take a lease its owner stops.
	margin time.Duration
	seen   sightings
}

func (l *leaser) subject(shard int) string {
	return events.KVSubject(l.bucket, strconv.Itoa(shard))
}

// look notes how far the bucket has got. Leases that others do not renew can be
// got one TTL after the first look that saw them.
func (l *leaser) look(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, l.ttl/4)
	defer cancel()
	stream, err := l.js.Stream(ctx, events.KVStream(l.bucket))
	if err != nil {
		return fmt.Errorf("look at the leases: %w", err)
	}
	state := stream.CachedInfo().State
	l.seen.add(sighting{at: time.Now(), last: state.LastSeq, stored: state.LastTime})
	return nil
}

// acquire gets the lease of a shard that nobody holds, else a heldError. Nobody
// holds it if there is no record, if the record says that it was handed over, or
// if its owner, whoever that was, has not renewed it for the time of the lease. The
// lease ends with parent.
func (l *leaser) acquire(parent context.Context, shard int) (*lease, error) {
	rec, err := l.read(parent, shard)
	if err != nil {
		return nil, err
	}
	if wait := l.heldFor(rec); wait > 0 {
		return nil, &heldError{lapses: wait}
	}
	started := time.Now()
	revision, err := l.write(parent, shard, l.owner, rec.revision)
	if events.IsWrongSequence(err) {
		return nil, &heldError{lapses: l.ttl}
	}
	if err != nil {
		return nil, fmt.Errorf("acquire shard %d: %w", shard, err)
	}
	ctx, end := context.WithCancelCause(parent)
	got := &lease{shard: shard, epoch: revision, ctx: ctx, end: end, revision: revision}
	got.extend(started.Add(l.ttl-l.margin), revision)
	return got, nil
}

// heldFor returns after how long a lease has lapsed if it is not renewed; 0 if
// nobody holds it. Its own name is no exception: a process that had it before may
// have a call on the wire.
func (l *leaser) heldFor(rec storedLease) time.Duration {
	if rec.revision == 0 || rec.Owner == "" && !rec.marker {
		return 0
	}
	ttl := l.ttl
	if its := time.Duration(rec.TTL) * time.Second; its > 0 && its <= MaxLeaseTTL {
		ttl = its
	}
	return max(0, ttl-l.seen.unchanged(rec.revision, rec.stored, time.Now()))
}

// read returns a shard's lease record. It is read from the leader.
func (l *leaser) read(ctx context.Context, shard int) (storedLease, error) {
	ctx, cancel := context.WithTimeout(ctx, l.ttl/4)
	defer cancel()
	msg, err := events.ReadFromLeader(ctx, l.js, events.KVStream(l.bucket), events.MessageQuery{LastOn: l.subject(shard)})
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return storedLease{}, nil
	}
	if err != nil {
		return storedLease{}, fmt.Errorf("read lease %d: %w", shard, err)
	}
	rec := storedLease{revision: msg.Sequence, stored: msg.Time}
	if len(msg.Data) == 0 {
		rec.marker = true
		return rec, nil
	}
	if err := json.Unmarshal(msg.Data, &rec.leaseRecord); err != nil {
		return storedLease{}, fmt.Errorf("lease %d: %w", shard, err)
	}
	return rec, events.CheckFormat(rec.Format)
}

// write stores a lease record by compare-and-set. It has no lifetime of its own:
// a broker that was killed brings back what stood behind a record that has ended.
func (l *leaser) write(ctx context.Context, shard int, owner string, expect uint64) (uint64, error) {
	rec := leaseRecord{Format: events.Format, Owner: owner, Incarnation: l.incarnation}
	if owner != "" {
		rec.Session, rec.TTL = l.session, int(l.ttl/time.Second)
	}
	data, err := json.Marshal(rec)
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, l.ttl/4)
	defer cancel()
	ack, err := l.js.Publish(ctx, l.subject(shard), data,
		jetstream.WithExpectLastSequencePerSubject(expect), jetstream.WithRetryAttempts(0))
	if err != nil {
		return 0, err
	}
	return ack.Sequence, nil
}

// renew extends a lease. If another worker has it, the lease ends at once; if the
// broker does not answer, it ends when its time is over.
func (l *leaser) renew(ctx context.Context, le *lease) error {
	started := time.Now() // before the request: others count from a later moment
	revision, err := l.write(ctx, le.shard, l.owner, le.currentRevision())
	if events.IsWrongSequence(err) {
		// It may be our own renewal whose answer was lost.
		rec, rerr := l.read(ctx, le.shard)
		if rerr != nil {
			return rerr
		}
		if rec.Owner != l.owner || rec.Session != l.session || rec.Incarnation != l.incarnation {
			le.stop(errLeaseLost)
			return fmt.Errorf("renew shard %d: %w", le.shard, errLeaseLost)
		}
		started = time.Now()
		revision, err = l.write(ctx, le.shard, l.owner, rec.revision)
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
	if _, err := l.write(ctx, le.shard, "", le.currentRevision()); err != nil {
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
