package delivery

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/delivery/internal/parking"
)

// errQuotaFull says that a partition has used up its part of a stream that all channels
// share.
var errQuotaFull = errors.New("the channel's quota is used up")

const (
	// quotaRetry is after how long it is looked again whether there is room.
	quotaRetry = time.Second
	// recountEvery is how often what a partition has in a stream is counted anew at most, while
	// there is no room for more: others may have removed some. Where counting takes long it is
	// a recountShare of the time at most.
	recountEvery = 5 * time.Second
	recountShare = 20
)

// A quota keeps a partition within its part of a shared stream. What it takes is counted
// before the first use, and again whenever there seems to be no room. It is safe for
// concurrent use.
type quota struct {
	name  string // of its field in the channel's configuration
	share int64  // bytes
	count func(ctx context.Context) (int64, error)

	full    atomic.Bool   // there was no room the last time
	turn    chan struct{} // holds something while somebody looks
	used    int64
	counted bool
	again   time.Time // when it may be counted again
}

func newQuota(name string, share channels.Bytes, count func(context.Context) (int64, error)) *quota {
	return &quota{name: name, share: int64(share), count: count, turn: make(chan struct{}, 1)}
}

// take notes that something of a size is about to be stored, if there is room; else it
// returns an error, which wraps errQuotaFull unless it could not be counted.
func (q *quota) take(ctx context.Context, size int64) error {
	select {
	case q.turn <- struct{}{}:
		defer func() { <-q.turn }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if started := time.Now(); !q.counted || q.used+size > q.share && started.After(q.again) {
		used, err := q.count(ctx)
		if err != nil {
			return fmt.Errorf("count what the channel has used of its quota: %w", err)
		}
		q.used, q.counted = used, true
		q.again = started.Add(max(recountEvery, recountShare*time.Since(started)))
	}
	q.full.Store(q.used+size > q.share)
	if q.full.Load() {
		return full(q.name, q.used, q.share)
	}
	q.used += size
	return nil
}

func full(name string, used, share int64) error {
	return fmt.Errorf("%w: quota.%s: this partition has used %s of its %s", errQuotaFull, name,
		channels.Bytes(used).Rounded(), channels.Bytes(share).Rounded())
}

// quotas are a tenure's parts of the shared streams.
type quotas struct {
	t            *tenure
	dead, parked *quota
	told         atomic.Bool // that the ledger is full
}

func (q *quotas) begin(t *tenure) {
	cfg := &t.p.r.entry.Config
	q.t = t
	q.dead = newQuota("dead_letters", cfg.Share(cfg.Quota.DeadLetters), q.countLetters)
	q.parked = newQuota("parked", cfg.Share(cfg.Quota.Parked), q.countParked)
}

// ledgerFull reports whether the ledger has no room for more records of the partition, and
// tells those who look.
func (q *quotas) ledgerFull() bool {
	if !q.t.view.Exhausted() {
		if q.told.Load() && q.told.Swap(false) {
			q.t.p.sight.hinder(ledgerQuota, nil)
		}
		return false
	}
	cfg := &q.t.p.r.entry.Config
	q.told.Store(true)
	q.t.p.sight.hinder(ledgerQuota, full("ledger", q.t.view.Used(), int64(cfg.Share(cfg.Quota.Ledger))))
	return true
}

// fit marks those moves for which the parked stream has no room.
func (q *quotas) fit(ctx context.Context, moves []parking.Move) {
	var refused error
	for i := range moves {
		if err := q.parked.take(ctx, q.t.parked.Size(&moves[i])); err != nil {
			moves[i].Err, refused = err, err
		}
	}
	if refused == nil || errors.Is(refused, errQuotaFull) {
		q.t.p.sight.hinder(parkedQuota, refused)
	}
}

// letter takes room for a dead letter.
func (q *quotas) letter(ctx context.Context, size int64) error {
	err := q.dead.take(ctx, size)
	if err == nil || errors.Is(err, errQuotaFull) {
		q.t.p.sight.hinder(deadQuota, err)
	}
	return err
}

func (q *quotas) countLetters(ctx context.Context) (sum int64, err error) {
	t, cfg := q.t, &q.t.p.r.entry.Config
	letters := wire.StreamQuery{
		Stream: wire.DeadStream(t.b.names), Subject: wire.PartitionDead(t.b.names, cfg.Name, t.p.index, cfg.Partitions), HeadersOnly: true, Consumer: true,
	}
	for msg, err := range wire.ReadStream(ctx, t.b.js, letters) {
		if err != nil {
			return 0, err
		}
		sum += wire.StoredSize(msg.Subject, msg.Header, wire.PayloadSize(msg.Header))
	}
	return sum, nil
}

func (q *quotas) countParked(ctx context.Context) (sum int64, err error) {
	err = q.t.parked.All(ctx, func(p parking.Parked) { sum += p.Size })
	return sum, err
}
