package connamqp_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/hms-utl/extsync/internal/testdb"
	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connamqp"
	"github.com/hms-utl/extsync/pkg/connectors/connectortest"
)

const (
	inFlight = 64
	// part is how many updates are written before the other side has its turn, so that what
	// else the machine does meets both.
	part = 3200
)

// BenchmarkAMQP compares the connector with the smallest loop over the same library, on one
// channel: 64 messages are on their way, each is persistent and confirmed. The connector has
// them in 64 calls, and in two batches of 32.
func BenchmarkAMQP(b *testing.B) {
	s := testdb.RabbitMQ(b)
	for _, kind := range []string{"classic", "quorum"} {
		for _, batch := range []int{1, 32} {
			b.Run(fmt.Sprintf("%s/batch=%d", kind, batch), func(b *testing.B) {
				queue := "bench." + kind + strconv.Itoa(batch)
				conn, ch, err := admin(s)
				testkit.Must(b, err)
				defer conn.Close() //nolint:errcheck // it was used enough
				_, err = ch.QueueDeclare(queue, true, false, false, false, amqp.Table{amqp.QueueTypeArg: kind})
				testkit.Must(b, err)
				defer ch.QueueDelete(queue, false, false, false) //nolint:errcheck // it ends with the broker
				testkit.Must(b, ch.Confirm(false))
				env := connectortest.Env(secrets(s))
				env.Concurrency = inFlight
				c, err := connectors.Open(b.Context(), connamqp.Kind(), env, []byte(config(s.Addr(), s.User, "routing_key: "+queue+"\n")))
				testkit.Must(b, err)
				defer c.Close(context.WithoutCancel(b.Context())) //nolint:errcheck // it was used enough
				compare(b, c, batch, func(n int64) error {
					confirm, err := ch.PublishWithDeferredConfirm("", queue, true, false, amqp.Publishing{
						Headers: amqp.Table{"key": strconv.FormatInt(n%1000, 10), "version": strconv.FormatInt(n, 10)}, DeliveryMode: amqp.Persistent, Body: benchPayload(n),
					})
					if err == nil && !confirm.Wait() {
						err = errors.New("not confirmed")
					}
					return err
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
	write := func(n int64) error {
		for _, res := range c.Apply(b.Context(), all[int(n)*size:][:size]) {
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
