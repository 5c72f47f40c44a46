package lease

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/internal/wire"
)

// MaxTTL is the longest time of a lease. The broker forgets what workers wrote of
// leases a minute ago, and its clocks may differ by what is left of that.
const MaxTTL = 30 * time.Second

// Options say whose leases a Keeper keeps.
type Options struct {
	JS      jetstream.JetStream
	Bucket  string
	Owner   string
	Session string // tells two processes of one name apart
	// Incarnation is that of the installation when the worker started.
	Incarnation wire.Incarnation
	TTL         time.Duration // whole seconds, up to MaxTTL
	// Margin is how long before others may take a lease its owner stops.
	Margin time.Duration
}

// A Keeper gets, renews and gives back the leases of one worker. Its methods may be
// called concurrently, Acquire for different shards.
type Keeper struct {
	o Options

	mu   sync.Mutex
	seen sightings
	read map[int]firstRead // by shard: the record that was read last
}

// A firstRead is when a record was read for the first time, by this machine's clock.
type firstRead struct {
	revision uint64
	stored   time.Time
	at       time.Time
}

// NewKeeper returns a keeper that has no leases.
func NewKeeper(o Options) *Keeper { return &Keeper{o: o, read: map[int]firstRead{}} }

// record is the form of a lease in the bucket. An empty Owner marks a shard that
// was handed over: free, but its key keeps the revision.
type record struct {
	Format  int    `json:"f"`
	Owner   string `json:"owner"`
	Session string `json:"session,omitempty"`
	TTL     int    `json:"ttl,omitempty"` // in seconds
	// Incarnation is that of the installation for its owner.
	Incarnation wire.Incarnation `json:"incarnation"`
}

// stored is the newest record of a shard's lease; the zero one: there is none.
type stored struct {
	record
	revision uint64
	stored   time.Time // by the broker's clock
	marker   bool      // a purge marker: somebody ended the lease by hand
}

func (k *Keeper) subject(shard int) string {
	return wire.KVSubject(k.o.Bucket, strconv.Itoa(shard))
}

// Look notes how far the bucket has got. Leases that others do not renew can be
// got one TTL after the first look that saw them.
func (k *Keeper) Look(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, k.o.TTL/4)
	defer cancel()
	stream, err := k.o.JS.Stream(ctx, wire.KVStream(k.o.Bucket))
	if err != nil {
		return fmt.Errorf("look at the leases: %w", err)
	}
	state := stream.CachedInfo().State
	k.mu.Lock()
	defer k.mu.Unlock()
	k.seen.add(sighting{at: time.Now(), last: state.LastSeq, stored: state.LastTime})
	return nil
}

// Acquire gets the lease of a shard that nobody holds, else a *HeldError. Nobody
// holds it if there is no record, if the record says that it was handed over, or
// if its owner, whoever that was, has not renewed it for the time of the lease. The
// lease ends with parent.
func (k *Keeper) Acquire(parent context.Context, shard int) (*Lease, error) {
	rec, err := k.newest(parent, shard)
	if err != nil {
		return nil, err
	}
	if wait := k.heldFor(shard, rec, time.Now()); wait > 0 {
		return nil, &HeldError{Lapses: wait}
	}
	started := time.Now()
	revision, err := k.write(parent, shard, k.o.Owner, rec.revision)
	if wire.IsWrongSequence(err) {
		return nil, &HeldError{Lapses: k.o.TTL}
	}
	if err != nil {
		return nil, fmt.Errorf("acquire shard %d: %w", shard, err)
	}
	return start(parent, shard, revision, started.Add(k.o.TTL-k.o.Margin)), nil
}

// heldFor returns after how long a lease has lapsed if it is not renewed; 0 if
// nobody holds it. Its own name is no exception: a process that had it before may
// have a call on the wire. A look at the bucket serves for all leases; where the broker's
// clock was set back it does not for a while, and then each lease counts from when it
// was read first.
func (k *Keeper) heldFor(shard int, rec stored, now time.Time) time.Duration {
	if rec.revision == 0 || rec.Owner == "" && !rec.marker {
		return 0
	}
	ttl := k.o.TTL
	if its := time.Duration(rec.TTL) * time.Second; its > 0 && its <= MaxTTL {
		ttl = its
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	first, known := k.read[shard]
	if !known || first.revision != rec.revision || !first.stored.Equal(rec.stored) {
		first = firstRead{rec.revision, rec.stored, now}
		k.read[shard] = first
	}
	return max(0, ttl-max(now.Sub(first.at), k.seen.unchanged(rec.revision, rec.stored, now)))
}

// newest returns a shard's lease record. It is read from the leader.
func (k *Keeper) newest(ctx context.Context, shard int) (stored, error) {
	ctx, cancel := context.WithTimeout(ctx, k.o.TTL/4)
	defer cancel()
	msg, err := wire.ReadFromLeader(ctx, k.o.JS, wire.KVStream(k.o.Bucket), wire.MessageQuery{LastOn: k.subject(shard)})
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return stored{}, nil
	}
	if err != nil {
		return stored{}, fmt.Errorf("read lease %d: %w", shard, err)
	}
	rec := stored{revision: msg.Sequence, stored: msg.Time}
	if len(msg.Data) == 0 {
		rec.marker = true
		return rec, nil
	}
	if err := json.Unmarshal(msg.Data, &rec.record); err != nil {
		return stored{}, fmt.Errorf("lease %d: %w", shard, err)
	}
	return rec, wire.CheckFormat(rec.Format)
}

// write stores a lease record by compare-and-set. It has no lifetime of its own:
// a broker that was killed brings back what stood behind a record that has ended.
func (k *Keeper) write(ctx context.Context, shard int, owner string, expect uint64) (uint64, error) {
	rec := record{Format: wire.Format, Owner: owner, Incarnation: k.o.Incarnation}
	if owner != "" {
		rec.Session, rec.TTL = k.o.Session, int(k.o.TTL/time.Second)
	}
	data, err := json.Marshal(rec)
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, k.o.TTL/4)
	defer cancel()
	ack, err := k.o.JS.Publish(ctx, k.subject(shard), data,
		jetstream.WithExpectLastSequencePerSubject(expect), jetstream.WithRetryAttempts(0))
	if err != nil {
		return 0, err
	}
	return ack.Sequence, nil
}

// Renew extends a lease. If another worker has it, the lease ends at once; if the
// broker does not answer, it ends when its time is over.
func (k *Keeper) Renew(ctx context.Context, le *Lease) error {
	started := time.Now() // before the request: others count from a later moment
	revision, err := k.write(ctx, le.shard, k.o.Owner, le.currentRevision())
	if wire.IsWrongSequence(err) {
		// It may be our own renewal whose answer was lost.
		rec, rerr := k.newest(ctx, le.shard)
		if rerr != nil {
			return rerr
		}
		if rec.Owner != k.o.Owner || rec.Session != k.o.Session || rec.Incarnation != k.o.Incarnation {
			le.Stop(ErrLost)
			return fmt.Errorf("renew shard %d: %w", le.shard, ErrLost)
		}
		started = time.Now()
		revision, err = k.write(ctx, le.shard, k.o.Owner, rec.revision)
	}
	if err != nil {
		return fmt.Errorf("renew shard %d: %w", le.shard, err)
	}
	le.extend(started.Add(k.o.TTL-k.o.Margin), revision)
	return nil
}

// Release hands the shard over and ends the lease. Nothing may work on the shard
// any more.
func (k *Keeper) Release(ctx context.Context, le *Lease) error {
	lapsed := !le.Alive()
	le.Stop(ErrReleased)
	if lapsed {
		return nil
	}
	if _, err := k.write(ctx, le.shard, "", le.currentRevision()); err != nil {
		return fmt.Errorf("release shard %d: %w", le.shard, err)
	}
	return nil
}
