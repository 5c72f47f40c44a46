package workers_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/hms-utl/extsync/internal/natsserver/natstest"
	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/workers"
)

// TestRead: a record older than a TTL against the newest is no sign of life, nor is one
// that cannot be read; who has left is not there.
func TestRead(t *testing.T) {
	b := natstest.Run(t)
	names := events.DefaultNames()
	if err := channels.Provision(t.Context(), b.JS, names, channels.Storage{}); err != nil {
		t.Fatal(err)
	}
	put := func(name string, r workers.Record) {
		t.Helper()
		data, err := r.Encode()
		if err == nil {
			_, err = b.JS.Publish(t.Context(), wire.KVSubject(wire.WorkersBucket(names), name), data)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	const ttl = 200 * time.Millisecond
	record := func(name string, shards ...int) workers.Record {
		return workers.Record{Worker: name, TTL: ttl.Milliseconds(), Shards: shards, Wants: []int{9}}
	}
	read := func() workers.Crew {
		t.Helper()
		crew, err := workers.Read(t.Context(), b.JS, names)
		if err != nil {
			t.Fatal(err)
		}
		return crew
	}
	if crew := read(); len(crew.Beats) != 0 || crew.Alive() != 0 || crew.Owner(1) != nil {
		t.Errorf("nobody: %+v", crew)
	}
	put("ghost", record("ghost", 1, 2))
	gone := record("gone")
	gone.Left = true
	put("gone", gone)
	put("liar", record("somebody", 1))
	testkit.Eventually(t, "the ghost is older than a TTL", func() bool {
		put("w1", record("w1", 3))
		crew := read()
		return crew.Owner(1) == nil
	})
	crew := read()
	if crew.Alive() != 1 || crew.Owner(3) == nil || crew.Owner(3).Worker != "w1" || crew.Wanted(9) == nil || crew.Wanted(8) != nil {
		t.Errorf("w1 alone is alive, has shard 3 and wants 9, but: %+v", crew)
	}
	var seen []string
	for _, beat := range crew.Beats {
		seen = append(seen, beat.Worker)
		if beat.Alive != (beat.Worker == "w1") || (beat.Bad != nil) != (beat.Worker == "liar") || beat.Age < 0 {
			t.Errorf("w1 alone is alive and the liar alone is bad, but: %+v", beat)
		}
	}
	if len(seen) != 3 || seen[0] != "ghost" || seen[1] != "liar" {
		t.Errorf("%q", seen)
	}
	testkit.Eventually(t, "nobody is alive when all are silent", func() bool { return read().Alive() == 0 })
}

// TestReadIsBounded: a bucket that nobody tidies is not read to its end.
func TestReadIsBounded(t *testing.T) {
	b := natstest.Run(t)
	names := events.DefaultNames()
	if err := channels.Provision(t.Context(), b.JS, names, channels.Storage{}); err != nil {
		t.Fatal(err)
	}
	for i := range 1001 {
		if _, err := b.JS.PublishAsync(wire.KVSubject(wire.WorkersBucket(names), fmt.Sprint("w", i)), []byte(`{"f":1}`)); err != nil {
			t.Fatal(err)
		}
	}
	<-b.JS.PublishAsyncComplete()
	if _, err := workers.Read(t.Context(), b.JS, names); err == nil {
		t.Error("1,001 records are read without an error")
	}
}
