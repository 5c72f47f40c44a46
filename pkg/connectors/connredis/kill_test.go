package connredis_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/connectors"
)

// The server is killed while calls are under way, and started again: what it had taken is
// there, and each key ends at its newest version.
func TestServerIsKilledDuringCalls(t *testing.T) {
	for _, layout := range layouts() {
		t.Run(layout, func(t *testing.T) {
			d := newTarget(t, layout)
			c := d.open(t)
			const writers, last, enough = 8, 200, 400
			var taken [writers]atomic.Int64
			var total atomic.Int64
			killed, busy := make(chan struct{}), make(chan struct{})
			isBusy := sync.OnceFunc(func() { close(busy) })
			var all sync.WaitGroup
			for w := range writers {
				all.Go(func() {
					defer isBusy() // also when it fails
					for version := int64(1); version <= last; {
						res := apply(t, c, attempt(fmt.Sprintf("k%d", w), version, fmt.Sprintf(`{"n":%d}`, version)))[0]
						switch res.Class {
						case connectors.OK:
							taken[w].Store(version)
							version++
							if total.Add(1) == enough {
								isBusy()
							}
						case connectors.Transient:
							<-killed // and it is there again
						default:
							t.Errorf("version %d: class %s, code %q (%v)", version, res.Class, res.Code, res.Err)
							return
						}
					}
				})
			}
			<-busy
			d.servers[0].Stop(t)
			var before [writers]int64
			for w := range writers {
				before[w] = taken[w].Load()
			}
			d.servers[0].Start(t)
			for w := range writers {
				key := fmt.Sprintf("k%d", w)
				held := d.held(t, key)[key]
				if order, err := held.Version.Compare(testkit.Number(max(before[w], 1))); before[w] > 0 && (err != nil || order < 0) {
					t.Errorf("%s: version %d was taken, and %s is there", key, before[w], held.Version)
				}
			}
			close(killed)
			all.Wait()
			keys, err := d.admin.DBSize(t.Context()).Result()
			testkit.Must(t, err)
			each := 1
			if d.value {
				each = 2
			}
			if want := int64(writers * each); keys != want {
				t.Errorf("the server has %d keys, want %d", keys, want)
			}
			for w := range writers {
				key := fmt.Sprintf("k%d", w)
				if got := d.held(t, key)[key].Version; got != testkit.Number(last) || d.payload(t, key) != fmt.Sprintf(`{"n":%d}`, last) {
					t.Errorf("%s ended at %s", key, got)
				}
			}
		})
	}
}
