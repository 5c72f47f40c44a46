package publish

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/events"
)

// sureFor is for how long a publisher takes the incarnation for what it was.
const sureFor = time.Second

// An installation is what a publisher has started with. What it remembers of
// sequences holds for that one only: a restored broker gives them again, and a publish
// that expects one could take the place of a newer update.
type installation struct {
	js          jetstream.JetStream
	names       events.Names
	incarnation wire.Incarnation
	heads       *heads
	began       time.Time

	until      atomic.Int64  // since began: surely the same
	reconnects atomic.Uint64 // of the connection, then
	mu         sync.Mutex
	changed    error // for good; mu guards it
}

func openInstallation(ctx context.Context, js jetstream.JetStream, names events.Names, h *heads) (*installation, error) {
	i := &installation{js: js, names: names, heads: h, began: time.Now()}
	i.reconnects.Store(js.Conn().Stats().Reconnects)
	var err error
	i.incarnation, err = wire.ReadIncarnation(ctx, js, names)
	i.until.Store(int64(sureFor))
	return i, err
}

// check returns ErrIncarnation once the installation has another incarnation, and
// ErrUnavailable while that is to be found out and cannot be. It asks the broker once
// in sureFor, and after each reconnect, when the heads that were remembered are
// forgotten, too: that the broker was restored may not have been told yet.
func (i *installation) check(ctx context.Context) error {
	reconnects := i.js.Conn().Stats().Reconnects
	if int64(time.Since(i.began)) < i.until.Load() && reconnects == i.reconnects.Load() {
		return nil
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.changed != nil {
		return i.changed
	}
	if int64(time.Since(i.began)) < i.until.Load() && reconnects == i.reconnects.Load() {
		return nil // somebody else was faster
	}
	have, err := wire.ReadIncarnation(ctx, i.js, i.names)
	switch {
	case errors.Is(err, events.ErrNotProvisioned), err == nil && have != i.incarnation:
		i.changed = wire.IncarnationChanged(i.names, i.incarnation, have)
		i.until.Store(0)
		return i.changed
	case err != nil:
		return wire.MarkUnavailable(err)
	}
	if i.reconnects.Swap(reconnects) != reconnects {
		i.heads.clear()
	}
	i.until.Store(int64(time.Since(i.began) + sureFor))
	return nil
}
