package delivery

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/hms-utl/extsync/internal/sleep"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/delivery/internal/ledger"
)

// censusRetry is after how long it is tried again to count what a partition has.
const censusRetry = 5 * time.Second

// A census is what a tenure knows of what the partition has in the shared streams.
type census struct {
	t         *tenure
	estimated atomic.Bool // it goes on from what a worker left that was killed
}

// resume goes on from what the owner before has left. Of a channel whose configuration
// makes something else of its updates now, the ledger's records are counted anew.
func (c *census) resume(left *channels.Progress) {
	was := left.Census
	if was.Content != c.t.p.r.entry.Content {
		return
	}
	c.t.view.Resume(ledger.Stock{Keys: was.Keys, Outdated: was.Outdated, Bytes: was.LedgerBytes, Standings: was.Standings})
	c.estimated.Store(was.Estimated || !left.Clean)
}

// run counts what could not be taken over, one partition of the worker at a time.
func (c *census) run(ctx context.Context) {
	if _, known := c.t.view.Stock(); known && !c.estimated.Load() {
		return
	}
	select {
	case c.t.b.counting <- struct{}{}:
		defer func() { <-c.t.b.counting }()
	case <-ctx.Done():
		return
	}
	for {
		err := c.t.view.Tally(ctx)
		if err == nil {
			c.estimated.Store(false)
			c.t.view.Stir() // the progress tells
			return
		}
		if ctx.Err() == nil {
			c.t.log.Info().Err(err).Msg("what the channel has in the ledger is not counted; it is tried again")
		}
		if !sleep.For(ctx, censusRetry) {
			return
		}
	}
}

// now returns what is known; the zero Census if nothing is.
func (c *census) now() channels.Census {
	stock, known := c.t.view.Stock()
	if !known {
		return channels.Census{}
	}
	return channels.Census{
		Content: c.t.p.r.entry.Content, Keys: stock.Keys, Outdated: stock.Outdated, LedgerBytes: stock.Bytes, Estimated: c.estimated.Load(),
		Standings: stock.Standings.Sorted(),
	}
}
