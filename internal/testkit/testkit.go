// Package testkit has what tests of every package need and the standard library
// lacks.
package testkit

import (
	"testing"
	"time"

	"github.com/hms-utl/extsync/pkg/versioning"
)

// Patience bounds every wait of a test. A test that passes never reaches it.
const Patience = 30 * time.Second

// Must ends the test if err is not nil.
func Must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Eventually waits until a condition holds that nothing signals, and ends the test
// after Patience. what completes "still waiting for".
func Eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	deadline := time.After(Patience)
	for !holds() {
		select {
		case <-deadline:
			t.Fatalf("still waiting for %s after %s", what, Patience)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// Number returns version n.
func Number(n int64) versioning.Version { return versioning.Must(versioning.Number(n)) }
