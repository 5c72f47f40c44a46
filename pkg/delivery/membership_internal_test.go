package delivery

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/workers"
)

func TestMembersAreThoseThatAnnounceThemselves(t *testing.T) {
	b := newBench(t, acceptAll)
	names, ctx := b.m.b.names, t.Context()
	write := func(id, text string) {
		t.Helper()
		_, err := b.JS.Publish(ctx, wire.KVSubject(wire.WorkersBucket(names), id), []byte(text))
		testkit.Must(t, err)
	}
	expect := func(what string, want ...string) {
		t.Helper()
		b.m.meet(ctx)
		crew, err := workers.Read(ctx, b.JS, names)
		testkit.Must(t, err)
		var got []string
		for _, beat := range crew.Beats {
			if beat.Alive {
				got = append(got, beat.Worker)
			}
		}
		if !slices.Equal(got, want) || !slices.Equal(b.m.live, want) {
			t.Errorf("%s: %v for others, %v for the worker, want %v", what, got, b.m.live, want)
		}
	}
	expect("alone", "w")
	write("a", `{"f":1,"worker":"a","ttl_ms":10000,"later":[1]}`)
	write("b", `{"f":1,"worker":"b","ttl_ms":10000}`)
	expect("three", "a", "b", "w")
	write("a", `{"f":1,"worker":"a","ttl_ms":10000,"left":true}`)
	expect("one has left", "b", "w")
	kv, err := b.JS.KeyValue(ctx, wire.WorkersBucket(names))
	testkit.Must(t, err)
	testkit.Must(t, kv.Purge(ctx, "b"))
	for i, text := range []string{"", "x", "[]", `{"ttl_ms":10000}`, `{"f":1}`, `{"f":-1,"ttl_ms":10000}`, `{"f":1,"ttl_ms":1000000000}`} {
		write(fmt.Sprint("odd", i), text)
	}
	expect("purge markers and what is no announcement", "w")
	b.m.left = true
	testkit.Must(t, b.m.announce(ctx))
	if crew, err := workers.Read(ctx, b.JS, names); err != nil || crew.Alive() > 0 {
		t.Errorf("after leaving %d are alive, error %v", crew.Alive(), err)
	}
	b.m.left = false

	write("newer", `{"f":2}`)
	b.m.liveAt = time.Now()
	b.m.meet(ctx)
	if why := b.m.told().MembersUnknown; why != "" {
		t.Errorf("one look that failed: %q", why)
	}
	b.m.liveAt = time.Now().Add(-b.m.b.leaseTTL)
	b.m.meet(ctx)
	if why := b.m.told().MembersUnknown; why == "" {
		t.Error("the worker does not say that it cannot list the live workers")
	}
}

// told returns what the manager says of the worker.
func (m *manager) told() Status {
	status, _ := m.stats.status()
	return status
}

// What says who is alive and who owns what has the stream's age for a lifetime, and
// is never deleted: only that survives a broker that is killed.
func TestPresenceHasTheAgeOfItsStream(t *testing.T) {
	b := newBench(t, acceptAll)
	b.lease(t, 1)
	b.m.meet(t.Context())
	b.m.leave(t.Context())
	for _, bucket := range []string{wire.WorkersBucket(b.m.b.names), wire.LeasesBucket(b.m.b.names)} {
		stream, err := b.JS.Stream(t.Context(), wire.KVStream(bucket))
		testkit.Must(t, err)
		info := stream.CachedInfo()
		if info.Config.MaxAge != time.Minute || info.Config.Duplicates > info.Config.MaxAge {
			t.Errorf("%s: age %s, duplicates %s", bucket, info.Config.MaxAge, info.Config.Duplicates)
		}
		if info.State.Msgs != 1 || info.State.LastSeq < 2 {
			t.Errorf("%s: %d records after leaving, last sequence %d", bucket, info.State.Msgs, info.State.LastSeq)
		}
		msg, err := stream.GetMsg(t.Context(), info.State.LastSeq)
		testkit.Must(t, err)
		if ttl := msg.Header.Get(jetstream.MsgTTLHeader); ttl != "" {
			t.Errorf("%s: a record has a lifetime of its own: %s", bucket, ttl)
		}
	}
}
