package delivery

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/delivery/internal/lease"
	"github.com/hms-utl/extsync/pkg/workers"
)

// farAway returns a broker whose API answers after a delay.
func farAway(t *testing.T, b *bench, delay time.Duration) jetstream.JetStream {
	t.Helper()
	relay := b.Connect(t)
	_, err := relay.Subscribe("RELAY.>", func(m *nats.Msg) {
		time.AfterFunc(delay, func() { _ = relay.PublishRequest("$JS.API."+strings.TrimPrefix(m.Subject, "RELAY."), m.Reply, m.Data) })
	})
	testkit.Must(t, err)
	testkit.Must(t, relay.Flush())
	js, err := jetstream.NewWithAPIPrefix(b.Conn, "RELAY")
	testkit.Must(t, err)
	return js
}

// A worker begins with all 64 shards, far from the broker. It got one after the other,
// and the first had lapsed when the last was there.
func TestManyShardsAreLeasedSideBySide(t *testing.T) {
	b := newBench(t, acceptAll)
	cfg := memoryChannel("cal", channels.Latest)
	cfg.Partitions = 16
	e, err := b.m.b.registry.Put(t.Context(), cfg, 0)
	testkit.Must(t, err)
	b.m.b.js = farAway(t, b, 60*time.Millisecond)
	b.m.b.leaseTTL = 4 * time.Second
	m := newManager(b.m.o, b.m.b, b.m.stats)
	m.live = []string{"w"}
	for shards := map[int]bool{}; len(shards) < workers.Shards; {
		e.Config.Name = fmt.Sprint("cal", len(m.entries))
		m.entries[e.Config.Name] = e
		for p := range e.Config.Partitions {
			shards[workers.Shard(e.Config.Name, p)] = true
		}
	}
	m.take(t.Context())
	if len(m.leases) != workers.Shards {
		t.Errorf("%d leases, want %d", len(m.leases), workers.Shards)
	}
	for shard, le := range m.leases {
		if le.Context().Err() != nil {
			t.Errorf("the lease of shard %d has lapsed before it could be used", shard)
		}
	}
}

// Many workers, far from the broker: their records were read one after the other, in a
// quarter of a lease, which was never enough.
func TestManyWorkersAreReadSideBySide(t *testing.T) {
	b := newBench(t, acceptAll)
	const many = 80
	for i := range many {
		rec := workers.Record{Worker: fmt.Sprint("w", i), TTL: 4000}
		data, err := rec.Encode()
		testkit.Must(t, err)
		_, err = b.JS.Publish(t.Context(), wire.KVSubject(wire.WorkersBucket(b.m.b.names), rec.Worker), data)
		testkit.Must(t, err)
	}
	m := &lease.Membership{JS: farAway(t, b, 15*time.Millisecond), Names: b.m.b.names, ID: "w0", Within: time.Second}
	live, err := m.Live(context.Background())
	if err != nil || len(live) != many {
		t.Errorf("%d workers are alive (%v), want %d", len(live), err, many)
	}
}
