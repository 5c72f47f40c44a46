package integration

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hms-utl/extsync/internal/faults"
	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/channels"
)

// builtServer builds the real server next to our programs, once.
var builtServer = sync.OnceValues(func() (string, error) { //nolint:gochecknoglobals // once for all tests
	return faults.BuildServer(context.Background(), binaries)
})

func natsServer(t testing.TB) string {
	t.Helper()
	path, err := builtServer()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// A broker that is killed and comes back has lost nothing that was accepted.
func TestBrokerKilledUnderLoad(t *testing.T) {
	t.Parallel()
	for _, mode := range []channels.Mode{channels.Latest, channels.Every} {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			rounds := sized(t, "rounds", 2, 15)
			crew := faults.NewCrew(t)
			server := faults.StartServer(t, crew, natsServer(t))
			r := newRigAt(t, crew, server.URL, 1)
			tg := faults.NewHTTPTarget(t, faults.HTTPOptions{Seed: 6})
			tg.Cause(tenPercent())
			r.channel("c", mode, "http", tg.Connector())
			r.worker("w0")
			r.worker("w1")
			p := r.publish(load{channel: "c", keys: 60, updates: rounds * 1000, over: time.Duration(rounds) * 4 * time.Second})
			writing(r, tg, "w0")
			for round := range rounds {
				r.pass(time.Second)
				server.Kill()
				if round%2 == 1 { // longer than a lease
					r.pass(leaseTTL + 500*time.Millisecond)
				}
				server.Start(t)
			}
			r.check("c", mode, p.wait(r), func() (faults.History, error) { return tg.History(), nil })
		})
	}
}

// A cluster of three that loses its leader under load loses nothing that was
// accepted, and everything goes on with the two that are left.
func TestClusterLosesItsLeaderUnderLoad(t *testing.T) {
	t.Parallel()
	for _, mode := range []channels.Mode{channels.Latest, channels.Every} {
		t.Run(string(mode), func(t *testing.T) {
			rounds := sized(t, "rounds", 1, 6)
			crew := faults.NewCrew(t)
			servers := faults.StartCluster(t, crew, natsServer(t), 3)
			r := newRigAt(t, crew, faults.URLs(servers), len(servers))
			r.lease = 5 * time.Second
			tg := faults.NewHTTPTarget(t, faults.HTTPOptions{Seed: 7})
			tg.Cause(tenPercent())
			r.channel("c", mode, "http", tg.Connector())
			r.worker("w0")
			r.worker("w1")
			p := r.publish(load{channel: "c", keys: 60, updates: rounds * 800, over: time.Duration(rounds) * 10 * time.Second})
			writing(r, tg, "w0")
			for range rounds {
				r.pass(time.Second)
				leader := r.leader("SYNC_UPD_c")
				dead := serverNamed(t, servers, leader)
				dead.Kill()
				killed := tg.Now()
				testkit.Eventually(t, "a write without the dead leader", func() bool {
					w := tg.History().Writes
					return len(w) > 0 && w[len(w)-1].At > killed+time.Second
				})
				t.Logf("leader %s was killed; writes go on after %s", leader, tg.Now()-killed)
				dead.Start(t)
			}
			r.check("c", mode, p.wait(r), func() (faults.History, error) { return tg.History(), nil })
		})
	}
}

// A worker that starts while the broker is away ended with exit code 3, and its
// supervisor gave up on it.
func TestWorkerThatStartsWhileTheBrokerIsAwayWaits(t *testing.T) {
	t.Parallel()
	crew := faults.NewCrew(t)
	server := faults.StartServer(t, crew, natsServer(t))
	r := newRigAt(t, crew, server.URL, 1)
	tg := faults.NewHTTPTarget(t, faults.HTTPOptions{})
	r.channel("c", channels.Latest, "http", tg.Connector())
	accepted := []faults.Accepted{r.accept(update("c", "k", 1, 0))}
	server.Kill()
	w := r.worker("w0")
	testkit.Eventually(t, "the worker to say that it waits", func() bool { return strings.Contains(w.Log(), "waiting for the broker") })
	server.Start(t)
	r.check("c", channels.Latest, accepted, func() (faults.History, error) { return tg.History(), nil })
}

// leader returns the server that leads a stream.
func (r *rig) leader(stream string) string {
	r.t.Helper()
	name := ""
	testkit.Eventually(r.t, "a leader of "+stream, func() bool {
		ctx, cancel := context.WithTimeout(r.t.Context(), 5*time.Second)
		defer cancel()
		s, err := r.js.Stream(ctx, stream)
		if err != nil {
			return false
		}
		if c := s.CachedInfo().Cluster; c != nil {
			name = c.Leader
		}
		return name != ""
	})
	return name
}

func serverNamed(t testing.TB, servers []*faults.Server, name string) *faults.Server {
	t.Helper()
	for _, s := range servers {
		if s.Name == name {
			return s
		}
	}
	t.Fatal(errors.New("no server has the name " + name))
	return nil
}
