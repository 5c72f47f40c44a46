package connhttp

import (
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hms-utl/extsync/pkg/connectors"
)

// TestConnectionsAreKept: once each call in flight has had a connection, the next calls
// use those again, whatever the answers look like.
func TestConnectionsAreKept(t *testing.T) {
	const inFlight, calls = 64, 10
	for name, answer := range map[string]func(http.ResponseWriter){
		"nothing": func(w http.ResponseWriter) { w.WriteHeader(http.StatusNoContent) },
		"empty":   func(http.ResponseWriter) {},
		"text":    func(w http.ResponseWriter) { _, _ = w.Write([]byte("stored")) },
		"chunks":  func(w http.ResponseWriter) { _, _ = w.Write(make([]byte, 8<<10)) },
	} {
		t.Run(name, func(t *testing.T) {
			var opened atomic.Int64
			var together sync.WaitGroup // the first requests wait for each other
			together.Add(inFlight)
			s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.RawQuery == "first" {
					together.Done()
					together.Wait()
				}
				answer(w)
			}))
			s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
				if state == http.StateNew {
					opened.Add(1)
				}
			}
			s.Start()
			t.Cleanup(s.Close)
			env := testEnv()
			env.Concurrency = inFlight
			to := func(url string) *connector {
				conn, err := open(env, Config{URL: connectors.Ref(url), AllowCIDRs: []string{"127.0.0.0/8"}}, deps{now: time.Now})
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = conn.Close(t.Context()) })
				return conn.(*connector)
			}
			first, rest := to(s.URL+"?first"), to(s.URL)
			rest.transport = first.transport
			run := func(c connectors.Connector, calls int) {
				var all sync.WaitGroup
				for range inFlight {
					all.Go(func() {
						for range calls {
							if res := applyOne(t, c); res.Class != connectors.OK {
								t.Error(res.Err)
							}
						}
					})
				}
				all.Wait()
			}
			run(first, 1)
			before := opened.Load()
			run(rest, calls)
			// net/http gives up a connection if 50 ms after the answer it has not heard that the
			// request is written, which a busy machine may need; calls that wait for the next
			// connection then open more than one. Were none kept, most calls would open one.
			if before != inFlight || opened.Load()-before > inFlight*calls/4 {
				t.Errorf("%d connections were opened for %d calls in flight, then %d", before, inFlight, opened.Load()-before)
			}
		})
	}
}
