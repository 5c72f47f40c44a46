package connkafka_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/connectors"
)

// The broker is killed while records are on their way, and comes back: every update that was
// delivered is in the topic, and the newest of each key is the last. The broker is kfake, which
// writes each batch to the disk before it answers: this proves what the connector makes of
// connections that end anywhere and of a broker that begins anew, and nothing of replicas.
func TestBrokerKilledInTheMiddleOfCalls(t *testing.T) {
	b := startBroker(t)
	topic := topicName(t)
	b.topic(t, topic, 3, compacted(nil))
	c := connect(t, config(b.proxy.Addr(), topic, ""))
	const keys, versions = 16, 12
	var written, failed atomic.Int64
	var last [keys]int64 // the version that a key ends with: all go on until a call has met the kill
	patience, stop := context.WithTimeout(t.Context(), testkit.Patience)
	defer stop()
	kill := make(chan struct{}, 1) // asked for by whoever has got far enough
	var killer, writers sync.WaitGroup
	killer.Go(func() {
		for range kill {
			b.process.Kill()
			b.process = b.run()
		}
	})
	for k := range keys {
		writers.Go(func() {
			for v := int64(1); v <= versions && patience.Err() == nil; v++ {
				last[k] = v
				a := attempt(fmt.Sprintf("key-%02d", k), v, fmt.Sprintf(`{"v":%d}`, v))
				for patience.Err() == nil {
					res := apply(t, c, a)[0]
					if res.Class == connectors.OK {
						break
					}
					if res.Class != connectors.Transient {
						t.Errorf("%s@%d: %s %q, %v, %s", a.Key, v, res.Class, res.Code, res.Err, res.Response)
						return
					}
					failed.Add(1)
				}
				if n := written.Add(1); n == keys*versions/4 || n == keys*versions/2 {
					kill <- struct{}{}
				}
			}
		})
	}
	writers.Wait()
	close(kill)
	killer.Wait()
	t.Logf("%d calls failed", failed.Load())
	box := newInbox(b, topic)
	for k := range keys {
		key := fmt.Sprintf("key-%02d", k)
		seen, newest := map[string]bool{}, int64(0)
		for _, r := range box.records(t, key) {
			v := versionOf(t, r)
			seen[v.String()] = true
			var n int64
			_, err := fmt.Sscan(v.String(), &n)
			testkit.Must(t, err)
			if n < newest {
				t.Errorf("%s has %d behind %d", key, n, newest)
			}
			newest = n
		}
		for v := int64(1); v <= last[k]; v++ {
			if !seen[fmt.Sprint(v)] {
				t.Errorf("%s@%d is lost", key, v)
			}
		}
		if newest != versions {
			t.Errorf("%s ends with %d", key, newest)
		}
	}
}
