package channels

import (
	"context"
	"testing"
	"time"

	"github.com/hms-utl/extsync/internal/natsserver/natstest"
	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/events"
)

// A worker has listed a channel that is to be removed, and is slow. Another removes it
// meanwhile, and a new channel gets the name: its stream was deleted, with an update
// that was accepted.
func TestSlowSweeperLeavesANewChannelAlone(t *testing.T) {
	b := natstest.Run(t)
	names := events.DefaultNames()
	ctx := t.Context()
	testkit.Must(t, Provision(ctx, b.JS, names, Storage{}))
	catalog := connectors.NewCatalog(connectors.Kind{
		Name: "memory", Check: func([]byte) error { return nil },
		Open: func(context.Context, connectors.Env, []byte) (connectors.Connector, error) { return nil, nil },
	})
	r, err := OpenRegistry(ctx, b.JS, names, catalog)
	testkit.Must(t, err)
	ledger, err := wire.OpenLedger(ctx, b.JS, names)
	testkit.Must(t, err)
	_, err = ledger.Owns(ctx, "cal", "a former one") // somebody asks before there is a channel
	testkit.Must(t, err)
	cfg := Config{Name: "cal", Mode: Latest, Connector: Connector{Kind: "memory"}}
	e, err := r.Put(ctx, cfg, 0)
	testkit.Must(t, err)
	if ours, err := ledger.Owns(ctx, "cal", "a former one"); ours || err != nil {
		t.Errorf("what carries another id is of this channel: %v, %v", ours, err)
	}
	e, err = r.Delete(ctx, "cal", e.Revision)
	testkit.Must(t, err)
	later := time.Now().Add(DeletedRetention + time.Hour)
	if swept, err := r.Sweep(ctx, later); err != nil || len(swept) != 1 {
		t.Fatalf("swept %v, %v; want the one channel", swept, err)
	}
	_, err = r.Put(ctx, cfg, 0)
	testkit.Must(t, err)
	if removed, err := r.remove(ctx, e, later); removed || err != nil {
		t.Errorf("the slow one has removed the channel: %v, %v", removed, err)
	}
	if _, err := b.JS.Stream(ctx, wire.UpdateStream(names, events.ToChannel("cal"))); err != nil {
		t.Errorf("the new channel's stream: %v", err)
	}
}

// A sweeper that died is followed by another one, later: until then the channel can
// neither be restored nor removed by somebody else.
func TestSweeperThatDied(t *testing.T) {
	b := natstest.Run(t)
	names := events.DefaultNames()
	ctx := t.Context()
	testkit.Must(t, Provision(ctx, b.JS, names, Storage{}))
	r, err := OpenRegistry(ctx, b.JS, names, nil)
	testkit.Must(t, err)
	now := time.Now()
	died := stored{ID: "x", Config: Config{Name: "cal"}, Deleted: now.Add(-DeletedRetention - time.Hour), Sweeping: now}
	_, err = r.store(ctx, died, 0)
	testkit.Must(t, err)
	if swept, err := r.Sweep(ctx, now); err != nil || len(swept) != 0 {
		t.Errorf("swept %v, %v; want none, as somebody is at it", swept, err)
	}
	if _, err := r.Restore(ctx, "cal"); err == nil {
		t.Error("a channel of which half is gone was restored")
	}
	if swept, err := r.Sweep(ctx, now.Add(sweepAgain)); err != nil || len(swept) != 1 {
		t.Errorf("swept %v, %v; want the channel", swept, err)
	}
}
