package connredis_test

import (
	"testing"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connectortest"
	"github.com/hms-utl/extsync/pkg/connectors/connredis"
	"github.com/hms-utl/extsync/pkg/events"
)

func TestConformance(t *testing.T) {
	for _, layout := range layouts() {
		// One after the other: each case looks for goroutines that are left over.
		t.Run(layout, func(t *testing.T) { connectortest.Run(t, newTarget(t, layout).conformance()) })
	}
}

func (d *target) conformance() connectortest.Target {
	each := func(what func(i int)) {
		for i := range d.proxies {
			what(i)
		}
	}
	heal := func(*testing.T) { each(func(i int) { d.proxies[i].Heal() }) }
	return connectortest.Target{
		Open: func(t *testing.T) *connectors.Opened {
			c, err := connectors.Open(t.Context(), connredis.Kind(), env(), d.lines())
			if err != nil {
				t.Fatal(err)
			}
			return c
		},
		Read:    func(t *testing.T, keys ...string) map[string]connectors.Held { return d.held(t, keys...) },
		Guarded: true, KeepsDigest: true, Tombstones: true, Times: true,
		Cut:     func(*testing.T) { each(func(i int) { d.proxies[i].Cut() }) },
		Restore: heal,
		LoseAnswer: func(t *testing.T) func() {
			each(func(i int) { d.proxies[i].LoseAnswers(nil) })
			return func() { heal(t) }
		},
		Hang: func(t *testing.T, _ string) func() {
			each(func(i int) { d.proxies[i].Freeze() })
			return func() { heal(t) }
		},
		Faults:  d.faults(),
		Secrets: []string{password},
		// The administrator's client.
		OwnGoroutines: []string{"github.com/redis/go-redis/v9.(*clusterStateHolder).LazyReload.func1"},
	}
}

// faults are what can go wrong with a server.
func (d *target) faults() []connectortest.Fault {
	setting := func(there, back string) func(*testing.T, *events.Update) func() {
		return func(t *testing.T, _ *events.Update) func() {
			d.all(t, there)
			return func() { d.all(t, back) }
		}
	}
	all := []connectortest.Fault{
		{
			Name: "another type", Want: connectors.Conflict, Code: "WRONGTYPE",
			Arm: func(t *testing.T, u *events.Update) func() {
				name := d.hash(u.Key)
				d.do(t, "DEL", name)
				d.do(t, "RPUSH", name, "x")
				return func() { d.do(t, "DEL", name, prefix+u.Key) }
			},
		},
		{Name: "no memory", Want: connectors.Unready, Code: "OOM", Arm: setting("CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0")},
		{Name: "too few replicas", Want: connectors.Transient, Code: "NOREPLICAS", Arm: setting("CONFIG SET min-replicas-to-write 1", "CONFIG SET min-replicas-to-write 0")},
		{Name: "no right to a command", Want: connectors.Misconfigured, Code: "NOPERM", Arm: d.user([]any{"-evalsha"}, []any{"+evalsha"})},
		{Name: "no right to a command of the script", Want: connectors.Misconfigured, Code: "NOPERM", Arm: d.user([]any{"-hset"}, []any{"+hset"})},
		{Name: "no right to the keys", Want: connectors.Misconfigured, Code: "NOPERM", Arm: d.user([]any{"resetkeys", "~other"}, []any{"resetkeys", "~" + prefix + "*", "~{" + prefix + "*"})},
	}
	if len(d.servers) == 1 {
		all = append(all, connectortest.Fault{
			Name: "a replica", Want: connectors.Transient, Code: "READONLY", Arm: setting("REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE"),
		})
	}
	return all
}

// user changes what the connector's user may do.
func (d *target) user(there, back []any) func(*testing.T, *events.Update) func() {
	return func(t *testing.T, _ *events.Update) func() {
		set := func(change []any) {
			d.everywhere(t, append([]any{"ACL", "SETUSER", username}, change...)...)
		}
		set(there)
		return func() { set(back) }
	}
}
