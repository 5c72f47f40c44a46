package delivery

import (
	"context"
	"time"

	"github.com/hms-utl/extsync/internal/sleep"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/delivery/internal/ledger"
	"github.com/hms-utl/extsync/pkg/delivery/internal/parking"
)

const (
	// tidyRetry is after how long it is tried again to remove settled updates from the parked
	// stream.
	tidyRetry = 5 * time.Second
	// tidyEvery is how often it is looked for some without a sign of any: what a frozen
	// owner had on its way to the stream arrives when it thaws.
	tidyEvery = 5 * time.Minute
)

// forget removes a settled update from the parked stream.
func (p *parker) forget(seq uint64) {
	t := p.t
	t.calls.under.Go(func() {
		if err := t.parked.Delete(t.ctx, seq); err != nil && t.ctx.Err() == nil {
			t.log.Warn().Err(err).Msg("it is tried again")
			signal(p.untidy)
		}
	})
}

// tidy removes settled updates that lie in the parked stream, whenever there may be some,
// until ctx ends: their removal failed, nobody heard that they were moved, or a broker
// that was killed has brought them back. So are those of keys that the channel takes no longer.
// They would count as parked until the partition has another owner.
func (p *parker) tidy(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.untidy:
		case <-time.After(tidyEvery):
		}
		for {
			err := p.tidyOnce(ctx)
			if err == nil {
				break
			}
			if !sleep.For(ctx, tidyRetry) {
				return
			}
			p.t.log.Info().Err(err).Msg("look for settled updates in the parked stream")
		}
	}
}

// tidyOnce does it once.
func (p *parker) tidyOnce(ctx context.Context) error {
	t := p.t
	var missed []parking.Parked
	err := t.parked.All(ctx, func(one parking.Parked) {
		t.mu.Lock()
		defer t.mu.Unlock()
		if t.lanes.Misses(parkedItem(one), one.Key) { // mostly none: there may be many
			missed = append(missed, one)
		}
	})
	if err != nil {
		return err
	}
	for _, one := range missed {
		ended, err := p.ended(ctx, one)
		if err == nil && ended {
			err = t.parked.Delete(ctx, one.At)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// ended reports whether a parked update has its outcome.
func (p *parker) ended(ctx context.Context, one parking.Parked) (ended bool, err error) {
	t := p.t
	k := t.view.Pin(one.Key)
	defer t.view.Unpin(k)
	if !t.takes(one.Update.Key) {
		return true, nil
	}
	if err := t.view.Load(ctx, []*ledger.Key{k}); err != nil {
		return false, err
	}
	it := parkedItem(one)
	t.view.Read(k, func(rec *wire.Record) { ended = t.lanes.Ended(it, rec) })
	return ended, nil
}
