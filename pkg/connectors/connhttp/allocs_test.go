//go:build !race

package connhttp

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/hms-utl/extsync/pkg/connectors"
)

// The race detector changes what is allocated; this file is left out there.

// What one call allocates, net/http's part of it included. A change that raises a
// figure is to be seen here, not in a benchmark some day. Unlike times, they hold
// for any machine; a version of Go that changes net/http may change them.
func TestAllocationsOfOneCall(t *testing.T) {
	for _, c := range []struct {
		name, path, answer string
		most               float64
		config             Config
	}{
		{"fixed URL", "/u", emptyAnswer, 46, Config{}},
		{"key in the URL", "/u/{key}?v={version}", emptyAnswer, 50, Config{Method: http.MethodPut}},
		{"with an answer", "/u", smallAnswer, 59, Config{}},
		{"with headers", "/u", emptyAnswer, 46, Config{
			Headers: map[string]connectors.Ref{"X-Tenant": "a"}, Auth: Auth{Bearer: "${env:TOKEN}"},
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.config.URL = connectors.Ref(sink(t, c.answer) + c.path)
			c.config.AllowCIDRs = []string{"127.0.0.0/8"}
			conn := openTest(t, c.config, deps{now: time.Now})
			// As in a worker, the call has an end already, sooner than our own.
			ctx, cancel := context.WithTimeout(t.Context(), testEnv().Timeout/2)
			defer cancel()
			attempts := []connectors.Attempt{benchmarkAttempt()}
			got := testing.AllocsPerRun(200, func() {
				if res := conn.Apply(ctx, attempts); res[0].Class != connectors.OK {
					t.Error(res[0].Err)
				}
			})
			if got > c.most+1 {
				t.Errorf("%v allocations, it was %v", got, c.most)
			}
		})
	}
}
