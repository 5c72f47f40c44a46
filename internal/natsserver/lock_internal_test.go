//go:build unix

package natsserver

import (
	"context"
	"os/exec"
	"sync"
	"testing"

	"github.com/hms-utl/extsync/internal/testkit"
)

// A child that was being started while the lock was given back had it for a moment longer: a
// server could not be started again in the same process.
func TestLockIsFreeAtOnceWhileChildrenAreStarted(t *testing.T) {
	dir := t.TempDir()
	ctx, stop := context.WithCancel(t.Context())
	var starting sync.WaitGroup
	for range 4 {
		starting.Go(func() {
			for ctx.Err() == nil {
				_ = exec.CommandContext(ctx, "true").Run() // that it was started is what counts
			}
		})
	}
	for range 2000 {
		l, err := lockDir(dir)
		testkit.Must(t, err)
		testkit.Must(t, l.release())
	}
	stop()
	starting.Wait()
}
