package compare

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/sync/errgroup"

	"github.com/hms-utl/extsync/pkg/events"
)

const latencyRate = 200 // updates a second

// latency measures how long an ack takes from the push, at a steady rate.
func latency(ctx context.Context, b *bed) (m Measure, err error) {
	if err := b.snapshot(); err != nil {
		return m, err
	}
	if b.s.workers > 0 {
		err = b.startWorkers(ctx)
	} else {
		_, err = b.startFloor(ctx, true)
	}
	if err != nil {
		return m, err
	}
	took, err := b.pushAll(ctx, b.s)
	if err != nil {
		return m, err
	}
	slices.Sort(took)
	if m, err = b.measure(latencyRate, time.Duration(b.s.updates)*time.Second/latencyRate, b.s.updates); err != nil {
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
