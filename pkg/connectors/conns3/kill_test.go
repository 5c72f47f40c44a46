package conns3

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connectortest"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// TestKilledServer kills the server again and again while it works on writes, and starts
// it: no version steps back, each key ends at its newest, and has one object.
func TestKilledServer(t *testing.T) {
	t.Parallel()
	s := startStore(t)
	const keys, versions, kills, between = 6, 20, 5, 12
	var puts atomic.Int64
	kill := make(chan struct{})
	s.front.Set(func() {
		s.front.Instead = func(_ http.ResponseWriter, r *http.Request) bool {
			if r.Method == http.MethodPut && puts.Add(1)%between == 0 {
				select {
				case kill <- struct{}{}: // it is killed while it gets this request
				default: // it is being started
				}
			}
			return false
		}
	})
	ctx, stop := context.WithCancel(t.Context())
	var writers sync.WaitGroup
	for k := range keys {
		c := opened(t, s.config(""))
		writers.Go(func() {
			key := fmt.Sprint("k", k)
			for v := int64(1); v <= versions && ctx.Err() == nil; {
				a := attempt(key, v, fmt.Sprintf(`{"n":%d}`, v%3)) // contents come again
				within, cancel := context.WithTimeout(ctx, connectortest.Timeout)
				res := c.Apply(within, []connectors.Attempt{a})[0]
				cancel()
				switch res.Class {
				case connectors.OK:
					v++
				case connectors.Transient:
				default:
					t.Errorf("%s@%d: class %s (%v)", key, v, res.Class, res.Err)
					return
				}
			}
		})
	}
	written := make(chan struct{})
	go func() { writers.Wait(); close(written) }()
	seen := map[string]versioning.Version{}
	look := func() {
		for key, held := range s.read(t, "k0", "k1", "k2", "k3", "k4", "k5") {
			if order, err := held.Version.Compare(seen[key]); err != nil || order < 0 {
				t.Errorf("%s stepped back from %s to %s (%v)", key, seen[key], held.Version, err)
			}
			seen[key] = held.Version
		}
	}
	killed := 0
	for done := false; !done; {
		select {
		case <-kill:
			if killed < kills {
				s.process.Kill()
				s.process = s.run()
				killed++
				look()
			}
		case <-written:
			done = true
		}
	}
	stop()
	if killed < kills {
		t.Errorf("the server was killed %d times only", killed)
	}
	look()
	names, err := opened(t, s.config("")).List(t.Context(), "", 100)
	if err != nil || len(names) != keys {
		t.Errorf("the store has the keys %q (%v)", names, err)
	}
	for key, version := range seen {
		if version != testkit.Number(versions) {
			t.Errorf("%s ended at %s", key, version)
		}
	}
	if len(seen) != keys {
		t.Errorf("the store holds %v", seen)
	}
}
