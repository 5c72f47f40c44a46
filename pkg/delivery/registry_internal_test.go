package delivery

import (
	"context"
	"testing"
	"time"

	"github.com/hms-utl/extsync/internal/testkit"
)

// A worker whose broker went away between the first reads and the watch of the registry
// ended with an error, where it waits for the broker a moment earlier.
func TestWorkerWhoseBrokerGoesWhileItStartsGoesOn(t *testing.T) {
	b := newBench(t, acceptAll)
	b.Stop(t)
	begun := make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() { begun <- b.m.beginWatch(ctx) }()
	select {
	case err := <-begun:
		testkit.Must(t, err)
	case <-time.After(testkit.Patience):
		t.Fatal("it waits for ever")
	}
	b.m.stopWatch()
}
