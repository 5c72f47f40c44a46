package connamqp_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/hms-utl/extsync/internal/testdb"
	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/connectors"
)

// settle brings to the disk which quorum queues there are. RabbitMQ 3.10 does so every three
// minutes, and one that is killed before has forgotten what such a queue held.
const settle = `[ok = dets:sync(T) || T <- dets:all()].`

// The broker is killed while messages are on their way, and comes back: every update that was
// delivered is in the queue, and the newest of each key is the last.
func TestBrokerKilledInTheMiddleOfCalls(t *testing.T) {
	s := testdb.RabbitMQ(t)
	queue := queueName(t)
	c := connect(t, s, config(s.Addr(), s.User, "declare: quorum\nrouting_key: "+queue+"\n"))
	want(t, apply(t, c, attempt("first", 1, "{}"))[0], connectors.OK, "")
	s.Control(t, "eval", settle)
	const keys, versions = 16, 12
	var written, failed atomic.Int64
	var last [keys]int64 // the version that a key ends with: all go on until a call has met the kill
	patience, stop := context.WithTimeout(t.Context(), testkit.Patience)
	defer stop()
	kill := make(chan struct{}, 1) // asked for by whoever has got far enough
	var down sync.RWMutex          // held while it is
	var writers, killer sync.WaitGroup
	killer.Go(func() {
		for range kill {
			down.Lock()
			s.Stop(t)
			s.Start(t)
			down.Unlock()
		}
	})
	for k := range keys {
		writers.Go(func() {
			for v := int64(1); v <= versions || failed.Load() == 0 && patience.Err() == nil; v++ {
				last[k] = v
				a := attempt(fmt.Sprintf("key-%02d", k), v, fmt.Sprintf(`{"v":%d}`, v))
				for {
					res := apply(t, c, a)[0]
					if res.Class == connectors.OK {
						break
					}
					if res.Class != connectors.Transient {
						t.Errorf("%s@%d: %s %q, %v, %s", a.Key, v, res.Class, res.Code, res.Err, res.Response)
						return
					}
					failed.Add(1)
					down.RLock()
					down.RUnlock() //nolint:staticcheck // it has waited until the broker is back
				}
				if written.Add(1) == keys*versions/2 {
					kill <- struct{}{}
				}
			}
		})
	}
	writers.Wait()
	close(kill)
	killer.Wait()
	if failed.Load() == 0 {
		t.Error("no call met a broker that was killed")
	}
	t.Logf("%d calls failed", failed.Load())
	box := newInbox(t, s, queue)
	for k := range keys {
		key := fmt.Sprintf("key-%02d", k)
		for v := int64(1); v <= last[k]; v++ {
			if _, n := box.message(t, fmt.Sprintf("%s@%d", key, v)); n == 0 {
				t.Errorf("%s@%d is lost", key, v)
			}
		}
		m, _ := box.message(t, key)
		if string(m.Body) != fmt.Sprintf(`{"v":%d}`, last[k]) || versionOf(t, m) != testkit.Number(last[k]) {
			t.Errorf("%s ends with %s", key, m.Body)
		}
	}
}
