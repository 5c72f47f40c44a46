package workers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/events"
)

// silentTTLs is for how many TTLs the whole bucket may be silent until nobody
// counts as alive: a broker that was away needs a moment to hear from its workers.
const silentTTLs = 3

// maxRecords bounds how many records are read, readsAtOnce how many side by side: a
// worker has a quarter of its lease for all of them.
const (
	maxRecords  = 1000
	readsAtOnce = 32
)

// A Beat is the last sign of life of a worker.
type Beat struct {
	Record
	At time.Time // when the broker stored it
	// Age is how long before the broker's present that was.
	Age   time.Duration
	Alive bool
	// Bad says why the record cannot be read; then only Worker and the times are set.
	Bad error

	sequence uint64 // in the bucket
}

// A Crew is the workers as somebody has seen them.
type Crew struct {
	Beats []Beat    // ordered by name
	At    time.Time // the broker's present
}

// Read returns the last sign of life of every worker, without those that have left.
// It reads from the leader: replicas may bring back different records. It fails with
// events.ErrNotProvisioned when there is no bucket. It may be called by anybody; an
// announcement of one's own is not needed: where all is silent, nobody is alive.
func Read(ctx context.Context, js jetstream.JetStream, names events.Names) (Crew, error) {
	stream, prefix := wire.KVStream(wire.WorkersBucket(names)), wire.KVSubject(wire.WorkersBucket(names), "")
	s, err := js.Stream(ctx, stream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return Crew{}, fmt.Errorf("%w: bucket %s is missing", events.ErrNotProvisioned, wire.WorkersBucket(names))
	}
	if err != nil {
		return Crew{}, fmt.Errorf("read the workers: %w", err)
	}
	info, err := s.Info(ctx, jetstream.WithSubjectFilter(prefix+">"))
	if err != nil {
		return Crew{}, fmt.Errorf("read the workers: %w", err)
	}
	if n := len(info.State.Subjects); n > maxRecords {
		return Crew{}, fmt.Errorf("read the workers: %s holds %d records, more than %d; run 'extsync channels apply' to bring it up to date", stream, n, maxRecords)
	}
	var (
		mu    sync.Mutex
		beats []Beat
	)
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(readsAtOnce)
	for subject := range info.State.Subjects {
		group.Go(func() error {
			msg, err := wire.ReadFromLeader(ctx, js, stream, wire.MessageQuery{LastOn: subject})
			if errors.Is(err, jetstream.ErrMsgNotFound) { // it has just expired
				return nil
			}
			if err != nil {
				return fmt.Errorf("read the workers: %w", err)
			}
			mu.Lock()
			defer mu.Unlock()
			beats = append(beats, decodeBeat(strings.TrimPrefix(subject, prefix), msg))
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return Crew{}, err
	}
	return judge(beats, info.TimeStamp), nil
}

// decodeBeat reads a record. What marks that one was removed says that the worker
// has left.
func decodeBeat(name string, msg *jetstream.RawStreamMsg) Beat {
	b := Beat{At: msg.Time, sequence: msg.Sequence}
	if msg.Header.Get(jetstream.MarkerReasonHeader) != "" || msg.Header.Get("KV-Operation") != "" {
		b.Record = Record{Worker: name, Left: true}
		return b
	}
	if b.Record, b.Bad = Decode(msg.Data); b.Bad == nil && b.Worker != name {
		b.Bad = fmt.Errorf("%w: it names worker %q", ErrRecord, b.Worker)
	}
	if b.Bad != nil {
		b.Record = Record{Worker: name}
	}
	return b
}

// judge says who is alive, by the broker's present.
func judge(beats []Beat, now time.Time) Crew {
	var newest Beat // by sequence: the broker's clock may have been set back
	for _, b := range beats {
		if b.sequence >= newest.sequence {
			newest = b
		}
	}
	if now.Before(newest.At) { // it was stored after the broker was asked for the time
		now = newest.At
	}
	for i := range beats {
		b := &beats[i]
		ttl := time.Duration(b.TTL) * time.Millisecond
		b.Age = now.Sub(b.At)
		b.Alive = b.Bad == nil && !b.Left && Alive(b.At, newest.At, ttl) && now.Sub(newest.At) < silentTTLs*ttl
	}
	slices.SortFunc(beats, func(a, b Beat) int { return strings.Compare(a.Worker, b.Worker) })
	return Crew{Beats: slices.DeleteFunc(beats, func(b Beat) bool { return b.Left }), At: now}
}

// Owner returns the live worker that says that it holds a shard; if several do,
// while it changes hands, the one that said so last. nil: nobody.
func (c Crew) Owner(shard int) *Beat {
	return c.last(func(b *Beat) bool { return slices.Contains(b.Shards, shard) })
}

// Wanted returns the live worker whose share a shard is and that cannot get it.
// nil: nobody.
func (c Crew) Wanted(shard int) *Beat {
	return c.last(func(b *Beat) bool { return slices.Contains(b.Wants, shard) })
}

// Alive counts the live workers.
func (c Crew) Alive() int {
	n := 0
	for i := range c.Beats {
		if c.Beats[i].Alive {
			n++
		}
	}
	return n
}

func (c Crew) last(is func(*Beat) bool) *Beat {
	var out *Beat
	for i := range c.Beats {
		if b := &c.Beats[i]; b.Alive && is(b) && (out == nil || b.At.After(out.At)) {
			out = b
		}
	}
	return out
}
