package connredis_test

import (
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connectortest"
)

// TestCluster runs all that needs a cluster on one, which takes a while to be ready.
func TestCluster(t *testing.T) {
	d := newCluster(t)
	for _, part := range []struct {
		name, config string
		run          func(*testing.T, *target)
	}{
		{"conformance, hash", "", func(t *testing.T, d *target) { connectortest.Run(t, d.conformance()) }},
		{"conformance, value", "layout: value\n", func(t *testing.T, d *target) { connectortest.Run(t, d.conformance()) }},
		{"one of a batch", "", oneOfABatch},
		{"forgotten script", "", forgottenScript},
		{"keys without a slot", "layout: value\n", keysWithoutASlot},
		{"not said to be a cluster", "cluster: false\n", notSaidToBeACluster},
		{"slot moves", "", slotMoves},
		{"server is killed", "", serverIsKilled},
	} {
		t.Run(part.name, func(t *testing.T) {
			d.everywhere(t, "FLUSHALL")
			part.run(t, d.with(part.config))
		})
	}
}

// keysWithoutASlot: a key whose two names the cluster would put into two slots is refused.
func keysWithoutASlot(t *testing.T, d *target) {
	c := d.open(t)
	for _, key := range slotless() {
		res := apply(t, c, attempt(key, 1, "{}"))[0]
		if want(t, res, connectors.Permanent, "key"); !res.Unasked {
			t.Error("the server was asked")
		}
	}
	for _, key := range []string{"{a", "{a}", "x{a}y}", "{a}{b}", "a{"} {
		want(t, apply(t, c, attempt(key, 1, "{}"))[0], connectors.OK, "")
	}
}

// notSaidToBeACluster: what the one server does not have needs somebody to act.
func notSaidToBeACluster(t *testing.T, d *target) {
	c := d.open(t)
	var elsewhere []connectors.Result
	for i := range 30 {
		res := apply(t, c, attempt(fmt.Sprint(i), 1, "{}"))[0]
		if res.Class != connectors.OK {
			elsewhere = append(elsewhere, res)
		}
	}
	if len(elsewhere) == 0 {
		t.Error("one server took all keys")
	}
	for _, res := range elsewhere {
		want(t, res, connectors.Misconfigured, "MOVED")
	}
}

// slotMoves: a slot moves to another server while its keys are written, and the calls follow.
func slotMoves(t *testing.T, d *target) {
	c := d.open(t)
	nodes := make([]*redis.Client, 2)
	ids := make([]string, 2)
	for i := range nodes {
		nodes[i] = redis.NewClient(&redis.Options{Addr: d.servers[i].Addr()})
		defer nodes[i].Close() //nolint:errcheck // nothing is lost by it
		ids[i] = nodes[i].ClusterMyID(t.Context()).Val()
	}
	tag := tagIn(t, nodes[0])
	key := func(name string) string { return "{" + tag + "}" + name }
	slot := nodes[0].ClusterKeySlot(t.Context(), prefix+key("")).Val()
	write := func(name string, version int64) {
		t.Helper()
		want(t, apply(t, c, attempt(key(name), version, "{}"))[0], connectors.OK, "")
	}
	write("before", 1)
	run := func(i int, args ...any) {
		t.Helper()
		testkit.Must(t, nodes[i].Do(t.Context(), args...).Err())
	}
	run(1, "CLUSTER", "SETSLOT", slot, "IMPORTING", ids[0])
	run(0, "CLUSTER", "SETSLOT", slot, "MIGRATING", ids[1])
	write("before", 2) // it is where it was
	write("during", 1) // ASK
	host, port, _ := net.SplitHostPort(d.servers[1].Addr())
	run(0, "MIGRATE", host, port, prefix+key("before"), 0, time.Minute.Milliseconds())
	write("before", 3) // ASK
	for i := range nodes {
		run(i, "CLUSTER", "SETSLOT", slot, "NODE", ids[1])
	}
	write("before", 4) // MOVED
	write("during", 2)
	for name, version := range map[string]int64{"before": 4, "during": 2} {
		if got := d.held(t, key(name))[key(name)].Version; got != testkit.Number(version) {
			t.Errorf("%s is at version %s", name, got)
		}
	}
}

// tagIn returns a part of keys that puts them at the first server.
func tagIn(t *testing.T, first *redis.Client) string {
	t.Helper()
	for i := range 1000 {
		tag := fmt.Sprint(i)
		if first.ClusterKeySlot(t.Context(), prefix+"{"+tag+"}").Val() < 16384/3 {
			return tag
		}
	}
	t.Fatal("no key belongs to the first server")
	return ""
}

// serverIsKilled: a server of the cluster is killed and started again; its keys wait, the
// others get through.
func serverIsKilled(t *testing.T, d *target) {
	c := d.open(t)
	keys := make([]connectors.Attempt, 30)
	for i := range keys {
		keys[i] = attempt(fmt.Sprint("k", i), 1, "{}")
	}
	for _, res := range apply(t, c, keys...) {
		want(t, res, connectors.OK, "")
	}
	d.servers[2].Stop(t)
	through := 0
	for i := range keys {
		keys[i] = attempt(keys[i].Key, 2, "{}")
	}
	for _, res := range apply(t, c, keys...) {
		switch res.Class {
		case connectors.OK:
			through++
		case connectors.Transient:
		default:
			t.Errorf("class %s, code %q (%v)", res.Class, res.Code, res.Err)
		}
	}
	if through == len(keys) {
		t.Error("the server that was killed took its keys")
	}
	d.servers[2].Start(t)
	testkit.Eventually(t, "all keys get through", func() bool {
		for _, res := range apply(t, c, keys...) {
			if res.Class != connectors.OK {
				return false
			}
		}
		return true
	})
	for _, a := range keys {
		if got := d.held(t, a.Key)[a.Key].Version; got != a.Version {
			t.Errorf("%s is at %s", a.Key, got)
		}
	}
}
