package connmqtt_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho"

	"github.com/hms-utl/extsync/internal/testdb"
	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connectortest"
	"github.com/hms-utl/extsync/pkg/connectors/connmqtt"
)

const (
	inFlight = 64
	// part is how many updates are written before the other side has its turn, so that what
	// else the machine does meets both.
	part = 3200
)

// BenchmarkMQTT compares the connector with the smallest loop over the same library, on one
// connection: 64 messages are on their way, each is retained and acknowledged. The connector
// has them in 64 calls, and in two batches of 32.
func BenchmarkMQTT(b *testing.B) {
	s := testdb.StartMosquitto(b, "max_inflight_messages 1000")
	for _, batch := range []int{1, 32} {
		b.Run(fmt.Sprintf("batch=%d", batch), func(b *testing.B) {
			conn, err := new(net.Dialer).DialContext(b.Context(), "tcp", s.Addr())
			testkit.Must(b, err)
			client := paho.NewClient(paho.ClientConfig{Conn: packets.NewThreadSafeConn(conn)})
			_, err = client.Connect(b.Context(), &paho.Connect{
				ClientID: rand.Text()[:20], CleanStart: true, KeepAlive: 20, Username: s.User, UsernameFlag: true, Password: []byte(s.Password), PasswordFlag: true,
			})
			testkit.Must(b, err)
			defer client.Disconnect(&paho.Disconnect{}) //nolint:errcheck // it was used enough
			env := connectortest.Env(secrets(s))
			env.Concurrency = inFlight
			c, err := connectors.Open(b.Context(), connmqtt.Kind(), env, []byte(config(s.Addr(), s.User, "")))
			testkit.Must(b, err)
			defer c.Close(context.WithoutCancel(b.Context())) //nolint:errcheck // it was used enough
			compare(b, c, batch, func(n int64) error {
				res, err := client.Publish(b.Context(), &paho.Publish{
					Topic: "loop/" + strconv.FormatInt(n%1000, 10), QoS: 1, Retain: true, Payload: benchPayload(n),
					Properties: &paho.PublishProperties{User: paho.UserProperties{{Key: "entityversion", Value: strconv.FormatInt(n, 10)}}},
				})
				if err == nil && res.ReasonCode >= packets.PubackUnspecifiedError {
					err = errors.New("not acknowledged")
				}
				return err
			})
		})
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
