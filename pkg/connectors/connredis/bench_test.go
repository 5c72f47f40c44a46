package connredis_test

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/hms-utl/extsync/internal/testdb"
	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/connectors"
)

// inFlight is how many calls of the benchmark run at once.
const inFlight = 64

// BenchmarkApply measures 64 callers at once, each with one update in a call or with a batch
// of 100: through the connector ("apply"), the smallest script that compares a version by the
// same library ("floor"), and the plainest HSET without a guard ("bare"). They take turns, so
// that whatever else the machine does hits all.
func BenchmarkApply(b *testing.B) {
	for _, batch := range []int{1, 100} {
		b.Run(fmt.Sprint("batch-", batch), func(b *testing.B) {
			s := testdb.StartRedis(b)
			e := env()
			e.Concurrency = inFlight
			c := openWith(b, e, fmt.Appendf(nil, "url: redis://%s\nallow_cidrs: [127.0.0.0/8]\n", s.Addr()))
			client := redis.NewClient(&redis.Options{Addr: s.Addr(), PoolSize: inFlight, Protocol: 2})
			b.Cleanup(func() { testkit.Must(b, client.Close()) })
			payload := `{"policy":"p-2023-vax","holder":"` + strings.Repeat("x", 200) + `","premium":12.5}`
			var versions atomic.Int64
			template := attempt("", 1, payload)
			smallest := redis.NewScript(`local v = redis.call('HGET', KEYS[1], 'v')
if v and v >= ARGV[1] then return 0 end
return redis.call('HSET', KEYS[1], 'v', ARGV[1], 'data', ARGV[2])`)
			testkit.Must(b, smallest.Load(b.Context(), client).Err())
			lanes := map[string]func(worker int) error{
				"apply": func(worker int) error {
					version := versions.Add(1)
					attempts := make([]connectors.Attempt, batch)
					for i := range attempts {
						attempts[i] = template
						attempts[i].Key, attempts[i].Version = fmt.Sprintf("p-%02d-%03d", worker, i), testkit.Number(version)
					}
					for _, res := range c.Apply(b.Context(), attempts) {
						if res.Class != connectors.OK {
							return res.Err
						}
					}
					return nil
				},
				"floor": func(worker int) error {
					version := fmt.Sprintf("%019d", versions.Add(1))
					pipe := client.Pipeline()
					for i := range batch {
						smallest.EvalSha(b.Context(), pipe, []string{fmt.Sprintf("floor:p-%02d-%03d", worker, i)}, version, payload)
					}
					_, err := pipe.Exec(b.Context())
					return err
				},
				"bare": func(worker int) error {
					version := versions.Add(1)
					pipe := client.Pipeline()
					for i := range batch {
						pipe.HSet(b.Context(), fmt.Sprintf("bare:p-%02d-%03d", worker, i), "v", version, "data", payload)
					}
					_, err := pipe.Exec(b.Context())
					return err
				},
			}
			spent := map[string]time.Duration{}
			calls := 1 + 20/batch // of each caller in a round
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
				b.ReportMetric(float64(rounds*inFlight*calls*batch)/took.Seconds(), name+"-updates/s")
			}
			b.ReportMetric(spent["floor"].Seconds()/spent["apply"].Seconds(), "ratio")
			b.ReportMetric(spent["bare"].Seconds()/spent["apply"].Seconds(), "apply/bare")
		})
	}
}
