package connnats_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/internal/natsserver/natstest"
	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connectortest"
)

// inFlight is how many calls of the benchmark run at once.
const inFlight = 64

// BenchmarkApply measures 64 callers at once with newer versions of keys that are there:
// through the connector ("apply"), and with the same library the smallest loop that has a
// guard, a read and an update by revision ("floor"). They take turns, so that whatever else
// the machine does hits both.
func BenchmarkApply(b *testing.B) {
	broker := natstest.Run(b, natstest.Options{TCP: true})
	_, err := broker.JS.CreateKeyValue(b.Context(), jetstream.KeyValueConfig{Bucket: "things"})
	testkit.Must(b, err)
	env := connectortest.Env(nil)
	env.Concurrency = inFlight
	c := openWith(b, env, lines(strings.TrimPrefix(broker.URL(), "nats://"), ""))
	nc, err := nats.Connect(broker.URL())
	testkit.Must(b, err)
	defer nc.Close()
	js, err := jetstream.New(nc)
	testkit.Must(b, err)
	kv, err := js.KeyValue(b.Context(), "things")
	testkit.Must(b, err)
	payload := `{"policy":"p-2023-vax","holder":"` + strings.Repeat("x", 200) + `","premium":12.5}`
	template := attempt("", 1, payload)
	var versions atomic.Int64
	lanes := map[string]func(worker int) error{
		"apply": func(worker int) error {
			a := template
			a.Key, a.Version, a.Held = fmt.Sprintf("apply-%02d", worker), testkit.Number(versions.Add(1)), true
			if res := c.Apply(b.Context(), []connectors.Attempt{a})[0]; res.Class != connectors.OK {
				return res.Err
			}
			return nil
		},
		"floor": func(worker int) error {
			key := fmt.Sprintf("floor-%02d", worker)
			revision := uint64(0)
			entry, err := kv.Get(b.Context(), key)
			if err == nil {
				revision = entry.Revision()
			} else if !errors.Is(err, jetstream.ErrKeyNotFound) {
				return err
			}
			_, err = kv.Update(b.Context(), key, []byte(payload), revision)
			return err
		},
	}
	spent := map[string]time.Duration{}
	const calls = 20 // of each caller in a round
	rounds := 0
	for b.Loop() {
		rounds++
		for name, write := range lanes { // in a random order
			start := time.Now()
			var all sync.WaitGroup
			for worker := range inFlight {
				all.Go(func() {
					for range calls {
						if err := write(worker); err != nil {
							b.Error(name, err)
						}
					}
				})
			}
			all.Wait()
			spent[name] += time.Since(start)
		}
	}
	for name, took := range spent {
		b.ReportMetric(float64(rounds*inFlight*calls)/took.Seconds(), name+"-updates/s")
	}
	b.ReportMetric(spent["floor"].Seconds()/spent["apply"].Seconds(), "ratio")
}
