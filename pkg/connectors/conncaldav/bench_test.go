package conncaldav_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/conncaldav"
	"github.com/hms-utl/extsync/pkg/connectors/connectortest"
)

const (
	// part is how many updates are written before the other side has its turn, so that what
	// else the machine does meets both.
	part = 200
	keys = 200
)

// BenchmarkApply compares the connector with the smallest loop over net/http that asks for
// the ETag and writes under it.
func BenchmarkApply(b *testing.B) {
	for name, start := range servers() {
		b.Run(name, func(b *testing.B) {
			s, inFlight := start(b), 64
			if name == "radicale" { // which lets five wait
				inFlight = 4
			}
			c := newCalendar(b, s)
			c.front.Addr = s.Addr() // nothing stands before it
			env := connectortest.Env(c.secrets())
			env.Concurrency, env.Timeout = inFlight, time.Minute
			o, err := connectors.Open(b.Context(), conncaldav.Kind(), env, []byte(c.config("")))
			testkit.Must(b, err)
			closing(b, o)
			transport := &http.Transport{MaxIdleConns: inFlight, MaxIdleConnsPerHost: inFlight}
			defer transport.CloseIdleConnections()
			ask := func(method, name string, body []byte, etag string) (status int, held string, err error) {
				req, err := http.NewRequestWithContext(b.Context(), method, c.url+name, bytes.NewReader(body))
				if err != nil {
					return 0, "", err
				}
				req.SetBasicAuth(s.User, s.Password)
				req.Header.Set("Content-Type", "text/calendar; charset=utf-8")
				if etag != "" {
					req.Header.Set("If-Match", etag)
				}
				got, err := transport.RoundTrip(req)
				if err != nil {
					return 0, "", err
				}
				defer func() { _ = got.Body.Close() }() // only read from
				_, err = io.Copy(io.Discard, got.Body)
				return got.StatusCode, got.Header.Get("ETag"), err
			}
			loop := func(n int64) error {
				name := fmt.Sprintf("loop-%d.ics", n%keys)
				_, etag, err := ask(http.MethodGet, name, nil, "")
				if err != nil {
					return err
				}
				status, _, err := ask(http.MethodPut, name, event("Review", fmt.Sprintf("UID:loop-%d", n%keys), fmt.Sprint("X-VERSION:", n)), etag)
				if err == nil && status/100 != 2 {
					err = fmt.Errorf("it answered %d", status)
				}
				return err
			}
			write := func(n int64) error {
				return o.Apply(b.Context(), []connectors.Attempt{attempt(fmt.Sprint("k-", n%keys), n+1, event("Review"))})[0].Err
			}
			testkit.Must(b, o.Probe(b.Context()))
			var took, floor time.Duration
			for from := int64(0); from < int64(b.N); from += part {
				to := min(from+part, int64(b.N))
				floor += inParallel(b, inFlight, from, to, loop)
				took += inParallel(b, inFlight, from, to, write)
			}
			b.ReportMetric(float64(b.N)/took.Seconds(), "updates/s")
			b.ReportMetric(float64(b.N)/floor.Seconds(), "loop/s")
			b.ReportMetric(floor.Seconds()/took.Seconds(), "ratio")
		})
	}
}

func inParallel(b *testing.B, inFlight int, from, to int64, write func(n int64) error) time.Duration {
	b.Helper()
	begun := time.Now()
	var next atomic.Int64
	next.Store(from)
	var wg sync.WaitGroup
	for range inFlight {
		wg.Go(func() {
			for n := next.Add(1) - 1; n < to; n = next.Add(1) - 1 {
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
