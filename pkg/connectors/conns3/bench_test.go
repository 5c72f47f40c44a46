package conns3

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hms-utl/extsync/pkg/connectors"
)

// What a round of the benchmark is.
const (
	inFlight = 64
	perRound = 512
)

// BenchmarkApply measures 64 calls in flight that write new versions of objects: through
// the connector ("apply"), and by the smallest loop that signs with the same library, asks
// for the ETag and writes under it ("floor"). They take turns, so that whatever else the
// machine does hits both. The floor is measured twice; what the two differ by is noise.
// "put" writes without asking, and without a guard.
func BenchmarkApply(b *testing.B) {
	s := startStore(b)
	c := opened(b, configFor("http://"+s.address, ""))
	payload := `{"policy":"p-2023-vax","holder":"` + strings.Repeat("x", 240) + `","premium":12.5}`
	transport := &http.Transport{MaxIdleConns: inFlight, MaxIdleConnsPerHost: inFlight}
	defer transport.CloseIdleConnections()
	plain := func(name string, asks bool) func(i int, version int64) error {
		return func(i int, version int64) error {
			to, header := fmt.Sprintf("http://%s/%s/%s/%d", s.address, testBucket, name, i), http.Header{}
			if asks {
				head, err := signed(b.Context(), transport, http.MethodHead, to, nil, nil)
				if err != nil {
					return err
				}
				if head.status == http.StatusOK {
					header.Set("If-Match", head.header.Get("ETag"))
				}
			}
			header.Set("Content-Type", "application/json")
			header.Set(metaVersion, fmt.Sprint(version))
			got, err := signed(b.Context(), transport, http.MethodPut, to, header, []byte(payload))
			if err == nil && got.status != http.StatusOK {
				err = fmt.Errorf("%d %s", got.status, got.body)
			}
			return err
		}
	}
	lanes := map[string]func(i int, version int64) error{
		"apply": func(i int, version int64) error {
			return c.Apply(context.Background(), []connectors.Attempt{attempt(fmt.Sprint("k", i), version, payload)})[0].Err
		},
		"floor": plain("floor", true), "floor-again": plain("again", true), "put": plain("put", false),
	}
	spent, rounds := map[string]time.Duration{}, int64(0)
	for b.Loop() {
		rounds++
		for name, write := range lanes { // in a random order
			start := time.Now()
			next := make(chan int)
			var loops sync.WaitGroup
			for range inFlight {
				loops.Go(func() {
					for i := range next {
						if err := write(i, rounds); err != nil {
							b.Error(name, err)
						}
					}
				})
			}
			for i := range perRound {
				next <- i
			}
			close(next)
			loops.Wait()
			spent[name] += time.Since(start)
		}
	}
	for name, took := range spent {
		b.ReportMetric(float64(rounds)*perRound/took.Seconds(), name+"/s")
	}
	b.ReportMetric(spent["floor"].Seconds()/spent["apply"].Seconds(), "ratio")
	b.ReportMetric(spent["floor"].Seconds()/spent["floor-again"].Seconds(), "floor/floor")
}
