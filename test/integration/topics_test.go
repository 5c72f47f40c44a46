package integration

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/hms-utl/extsync/internal/faults"
	"github.com/hms-utl/extsync/internal/operate"
	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// A topic with five channels, one of which has a target that is down and another of which is
// paused, while workers and broker are killed: each living channel ends at the newest version
// of every key, the other two when they come back, and one that is added last, too.
func TestTopicThroughFaults(t *testing.T) {
	t.Parallel()
	updates := sized(t, "updates", 2000, 100_000)
	keys := updates / 20
	seed := rand.Uint64() //nolint:gosec // not a secret
	t.Logf("seed %d", seed)
	dice := rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // not a secret
	crew := faults.NewCrew(t)
	server := faults.StartServer(t, crew, natsServer(t))
	r := newRigAt(t, crew, server.URL, 1)
	_, err := r.registry.PutTopic(t.Context(), channels.Topic{Name: "policies", MaxBytes: 256 << 20}, 0)
	r.must(err)
	reads := func(name, kind string, connector map[string]any, change ...func(*channels.Config)) {
		r.channel(name, channels.Latest, kind, connector, append(change, func(c *channels.Config) { c.From = &channels.From{Topic: "policies"} })...)
	}
	web := func() *faults.HTTPTarget {
		return faults.NewHTTPTarget(t, faults.HTTPOptions{Guarded: true, Seed: seed})
	}
	portal, dead, paused, late := web(), web(), web(), web()
	postgres, sqlite := faults.NewPostgresTarget(t), faults.NewSQLiteTarget(t)
	sql := func(tg *faults.SQLTarget) recorder {
		return func() (faults.History, error) { return tg.History(t.Context()) }
	}
	history := func(tg *faults.HTTPTarget) recorder {
		return func() (faults.History, error) { return tg.History(), nil }
	}
	reads("http", "http", portal.Connector())
	reads("postgres", "sql", postgres.Connector(), func(c *channels.Config) { c.Partitions = 16 })
	reads("sqlite", "sql", sqlite.Connector(), func(c *channels.Config) { c.Partitions = 1 })
	reads("dead", "http", dead.Connector())
	reads("paused", "http", paused.Connector(), func(c *channels.Config) { c.Paused = new(true) })
	dead.Cause(faults.Trouble{Errors: 1})
	portal.Cause(tenPercent())
	crewOf := make([]*faults.Process, 3)
	for i := range crewOf {
		crewOf[i] = r.worker(fmt.Sprint("w", i))
	}
	load := r.publish(load{topic: "policies", keys: keys, updates: updates, over: time.Duration(sized(t, "seconds", 8, 240)) * time.Second, seed: seed})
	for n := len(crewOf); load.running(updates); n++ {
		if dice.IntN(4) == 0 {
			server.Kill()
			r.pass(time.Duration(dice.IntN(1000)) * time.Millisecond)
			server.Start(t)
		} else {
			i := dice.IntN(len(crewOf))
			crewOf[i].Kill()
			crewOf[i] = r.worker(fmt.Sprint("w", n))
		}
		r.pass(time.Duration(500+dice.IntN(2000)) * time.Millisecond)
	}
	accepted := load.wait(r)
	targets := map[string]recorder{
		"http": history(portal), "postgres": sql(postgres), "sqlite": sql(sqlite), "dead": history(dead), "paused": history(paused), "late": history(late),
	}
	ended := func(names ...string) {
		t.Helper()
		for _, name := range names {
			log := r.settled(name, accepted, settleWithin)
			testkit.Eventually(t, "the ledger to have what the log has", func() bool { return r.ledgerFollows(log) })
		}
	}
	ended("http", "postgres", "sqlite")
	dead.Cause(faults.Trouble{})
	_, err = r.registry.Resume(t.Context(), "paused")
	r.must(err)
	reads("late", "http", late.Connector())
	ended("dead", "paused", "late")
	r.answersAgree(accepted[:min(len(accepted), 20)], len(targets))
	r.stopWorkers()
	for name, target := range targets {
		r.verify(faults.NewLogReader(r.js, r.names, name), channels.Latest, accepted, target)
	}
	if n := len(late.History().Writes); n != keys {
		t.Errorf("the channel that was added last has %d writes for %d keys", n, keys)
	}
}

// answersAgree compares what a topic's answer says of some updates with the ledger of each
// channel.
func (r *rig) answersAgree(some []faults.Accepted, readers int) {
	r.t.Helper()
	for _, a := range some {
		var p operate.TopicPublished
		out := r.extsync("wait", "--topic", "policies", a.Key+"@"+a.Version.String(), "--json", "--timeout", "30s").ok(r.t)
		r.must(json.Unmarshal([]byte(out), &p))
		if p.Outcome != operate.TopicDelivered || len(p.Channels) != readers {
			r.t.Errorf("%s@%s: %+v", a.Key, a.Version, p)
		}
		for _, c := range p.Channels {
			ack, err := r.pub.Outcome(r.t.Context(), c.Channel, a.Key, versioning.Tag{Version: a.Version})
			if err != nil || c.Ack == nil || ack.Outcome != c.Ack.Outcome {
				r.t.Errorf("%s@%s in %s: %+v, the ledger says %+v, %v", a.Key, a.Version, c.Channel, c.Ack, ack, err)
			}
		}
	}
}
