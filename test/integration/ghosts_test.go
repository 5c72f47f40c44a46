package integration

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hms-utl/extsync/internal/faults"
	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/workers"
)

// ghostWait is after how long a broker that is killed brings back what it had
// dropped: it has written down the lifetimes of its records by then, and will not
// read them from the records again.
const ghostWait = 150 * time.Second

// A broker that is killed brings back records of workers and leases that were
// gone, and nothing ends them any more. A share of a channel that belonged to such
// a worker was served by nobody, for ever.
func TestBrokerBringsBackWorkersAndLeases(t *testing.T) {
	t.Parallel()
	for _, size := range []int{1, 3} {
		t.Run(fmt.Sprintf("%d servers", size), func(t *testing.T) {
			t.Parallel()
			wait := sized(t, "until the broker is killed", 0, ghostWait)
			crew := faults.NewCrew(t)
			var servers []*faults.Server
			if size == 1 {
				servers = []*faults.Server{faults.StartServer(t, crew, natsServer(t))}
			} else {
				servers = faults.StartCluster(t, crew, natsServer(t), size)
			}
			r := newRigAt(t, crew, faults.URLs(servers), size)
			tg := faults.NewHTTPTarget(t, faults.HTTPOptions{})
			r.channel("c", channels.Every, "http", tg.Connector(), func(c *channels.Config) { c.Partitions = 4 })
			if wait == 0 {
				r.haunt("gone")
			}
			workers := []*faults.Process{r.worker("w0"), r.worker("w1")}
			if wait > 0 {
				workers = append(workers, r.worker("w2"))
			}
			p := r.publish(load{channel: "c", keys: 20, updates: 1 << 20, over: (1 << 20) * 50 * time.Millisecond})
			for _, w := range workers {
				writing(r, tg, w.Name)
			}
			if wait > 0 {
				workers[2].Terminate()
				if code, err := workers[2].ExitCode(testkit.Patience); err != nil || code != 0 {
					t.Errorf("worker %s: exit code %d, %v", workers[2].Name, code, err)
				}
				r.pass(wait)
			}
			for _, s := range servers {
				s.Kill()
			}
			faults.StartAll(t, servers)
			writing(r, tg, "w0") // the publishers have found the broker again
			p.stop()
			accepted := p.wait(r)
			r.progresses("c", 8, accepted, time.Now())
			r.settled("c", accepted, settleWithin)
			if out := r.doctor(); !strings.Contains(out, "2 alive") {
				t.Errorf("doctor does not say that 2 workers are alive:\n%s", out)
			}
			r.check("c", channels.Every, accepted, func() (faults.History, error) { return tg.History(), nil })
		})
	}
}

// haunt makes the broker hold what a broker that was killed brings back: a worker
// that is gone, and all leases in its name, without a lifetime of their own.
func (r *rig) haunt(worker string) {
	r.t.Helper()
	record := func(bucket, key string, data []byte) {
		_, err := r.js.Publish(r.t.Context(), wire.KVSubject(bucket, key), data)
		r.must(err)
	}
	ghost := workers.Record{Worker: worker, TTL: r.lease.Milliseconds(), Working: 1}
	for shard := range workers.Shards {
		ghost.Shards = append(ghost.Shards, shard)
		record(wire.LeasesBucket(r.names), strconv.Itoa(shard),
			fmt.Appendf(nil, `{"f":%d,"owner":%q,"session":"s","ttl":%d}`, wire.Format, worker, int(r.lease.Seconds())))
	}
	data, err := ghost.Encode()
	r.must(err)
	record(wire.WorkersBucket(r.names), worker, data)
	if out := r.doctor(); !strings.Contains(out, "1 alive") {
		r.t.Fatalf("doctor does not take the record of %s for one:\n%s", worker, out)
	}
}

// doctor returns what the command says of the broker.
func (r *rig) doctor() string {
	r.t.Helper()
	p := extsync("doctor", "--nats-url", r.url)
	return p.run(r.t).out
}
