package delivery

import (
	"context"
	"time"

	"github.com/hms-utl/extsync/pkg/delivery/internal/lanes"
	"github.com/hms-utl/extsync/pkg/delivery/internal/parking"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// Which keys are parked, and when, is decided in lanes; parkloop.go moves their updates.
// This is what comes back from the parked stream.

// defaultParkAfter is how long a key may fail before it is parked.
const defaultParkAfter = 30 * time.Second

// recoverParked puts the updates that a former owner has parked into lanes,
// before anything is pulled.
func (t *tenure) recoverParked(ctx context.Context) error {
	n, keys := 0, 0
	err := t.parked.All(ctx, func(p parking.Parked) {
		key := t.view.Pin(p.Key)
		t.begin()
		defer t.end()
		t.lanes.Recovered(parkedItem(p), key)
		n, keys = n+1, t.lanes.Keys()
	})
	if n > 0 {
		t.log.Info().Int("updates", n).Int("keys", keys).Msg("parked updates loaded")
	}
	return err
}

func parkedItem(p parking.Parked) *lanes.Item {
	return &lanes.Item{
		Update: p.Update, Tag: versioning.Tag{Version: p.Update.Version, Digest: p.Digest}, Seq: p.Seq, Published: p.Stored,
		Parked: p.At, Replay: events.IsReplay(p.ID), Came: time.Now(),
	}
}

// loadMore reads the next parked updates of a lane that has more than it may hold.
func (t *tenure) loadMore(l *lanes.Lane, from uint64) {
	var got []*lanes.Item
	key := l.Key().Encoded()
	err := t.parked.OfKey(t.ctx, key, from, lanes.ParkedInMemory+1, func(p parking.Parked) { got = append(got, parkedItem(p)) })
	if err != nil {
		t.log.Warn().Err(err).Str("key", key).Msg("read parked updates")
	}
	t.begin()
	defer t.end()
	if err != nil {
		t.lanes.LoadFailed(l)
	} else {
		t.lanes.Loaded(l, got)
	}
}

// deleteParked removes a settled update from the parked stream.
func (t *tenure) deleteParked(seq uint64) {
	t.calls.under.Go(func() { t.parked.Delete(t.ctx, seq) })
}
