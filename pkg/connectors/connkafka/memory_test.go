package connkafka_test

import (
	"fmt"
	"os"
	"runtime"
	"testing"

	"github.com/hms-utl/extsync/pkg/connectors"
)

// A connector that has written many updates of many keys holds no more than one that has
// written some.
func TestMemoryIsFlat(t *testing.T) {
	b := startBroker(t, "-memory")
	for _, fence := range []string{"transactions", "none"} {
		t.Run(fence, func(t *testing.T) {
			topic := topicName(t)
			b.topic(t, topic, 3, compacted(nil))
			c := connect(t, config(b.addr, topic, "max_batch: 500\nfence: "+fence+"\n"))
			const size, some = 500, 10 // of a batch, batches
			many := 40
			if os.Getenv("EXTSYNC_TEST_FULL") != "" {
				many = 200
			}
			payload := fmt.Sprintf(`{"pad":"%01000d"}`, 0)
			held := func(from, upto int) uint64 {
				batch := make([]connectors.Attempt, size)
				for n := from; n < upto; n++ {
					for i := range batch {
						batch[i] = attempt(fmt.Sprintf("key-%d", n*size+i), 1, payload)
					}
					for _, res := range apply(t, c, batch...) {
						want(t, res, connectors.OK, "")
					}
				}
				clear(batch)
				runtime.GC()
				runtime.GC() // what pools held is given up by the second one
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				return m.HeapAlloc
			}
			before := held(0, some)
			after := held(some, many)
			t.Logf("%d KiB after %d updates, %d KiB after %d", before>>10, some*size, after>>10, many*size)
			if after > before+4<<20 {
				t.Errorf("%d KiB after %d updates, %d KiB after %d", before>>10, some*size, after>>10, many*size)
			}
		})
	}
}
