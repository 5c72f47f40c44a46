package connkafka_test

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connectortest"
	"github.com/hms-utl/extsync/pkg/connectors/connkafka"
)

const (
	inFlight = 64
	// part is how many updates are written before the other side has its turn, so that what
	// else the machine does meets both.
	part = 6400
)

// BenchmarkKafka compares the connector with the smallest loop over the same library, which
// has an idempotent producer and no transactions: 64 records are on their way. The connector
// has them in 64 calls, and in two batches of 32. The broker holds all in memory.
func BenchmarkKafka(b *testing.B) {
	s := startBroker(b, "-memory")
	topics := 0
	for _, fence := range []string{"transactions", "none"} {
		for _, batch := range []int{1, 32} {
			b.Run(fmt.Sprintf("fence=%s/batch=%d", fence, batch), func(b *testing.B) {
				topics++ // a round is as long as the one before
				topic := fmt.Sprintf("bench.%d", topics)
				s.topic(b, topic, 6, compacted(nil))
				env := connectortest.Env(nil)
				env.Concurrency = inFlight
				c, err := connectors.Open(b.Context(), connkafka.Kind(), env, []byte(config(s.addr, topic, "fence: "+fence+"\n")))
				testkit.Must(b, err)
				defer c.Close(context.WithoutCancel(b.Context())) //nolint:errcheck // it was used enough
				loop := s.client(b, kgo.ProducerLinger(0), kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)), kgo.ProducerBatchCompression(kgo.NoCompression()))
				defer loop.Close()
				compare(b, c, batch, func(n int64) error {
					return loop.ProduceSync(b.Context(), &kgo.Record{
						Topic: topic, Key: strconv.AppendInt(nil, n%1000, 10), Value: benchPayload(n),
						Headers: []kgo.RecordHeader{{Key: "version", Value: strconv.AppendInt(nil, n, 10)}},
					}).FirstErr()
				})
			})
		}
	}
}

// benchPayload is about what an update is.
func benchPayload(n int64) []byte { return fmt.Appendf(nil, `{"n":%d,"pad":"%0300d"}`, n, 0) }

// compare has the connector and the loop write b.N updates each, in turns.
func compare(b *testing.B, c *connectors.Opened, size int, loop func(n int64) error) {
	b.Helper()
	all := make([]connectors.Attempt, part) // as the engine would have them
	for i := range all {
		all[i] = attempt(strconv.Itoa(i), int64(i)+1, string(benchPayload(int64(i))))
	}
	ctx := connectors.WithPartition(b.Context(), 0)
	write := func(n int64) error {
		for _, res := range c.Apply(ctx, all[int(n)*size:][:size]) {
			if res.Class != connectors.OK {
				return res.Err
			}
		}
		return nil
	}
	var took, floor time.Duration
	updates := 0
	for range max(1, b.N/part) {
		floor += inParallel(b, inFlight, part, loop)
		took += inParallel(b, inFlight/size, part/int64(size), write)
		updates += part
	}
	b.ReportMetric(float64(updates)/took.Seconds(), "updates/s")
	b.ReportMetric(float64(updates)/floor.Seconds(), "loop/s")
	b.ReportMetric(floor.Seconds()/took.Seconds(), "ratio")
}

func inParallel(b *testing.B, callers int, calls int64, write func(n int64) error) time.Duration {
	b.Helper()
	begun := time.Now()
	var next atomic.Int64
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			for n := next.Add(1) - 1; n < calls; n = next.Add(1) - 1 {
				if err := write(n); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	return time.Since(begun)
}
