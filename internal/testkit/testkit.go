// Package testkit has what tests of every package need and the standard library
// lacks.
package testkit

import (
	"testing"
	"time"

	"github.com/hms-utl/extsync/pkg/versioning"
)

// Patience bounds every wait of a test. A test that passes never reaches it.
const Patience = time.Minute

// Must ends the test if err is not nil.
func Must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Eventually waits until a condition holds that nothing signals, and ends the test
// after Patience. what says what was expected.
func Eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	deadline := time.After(Patience)
	for !holds() {
		select {
		case <-deadline:
			t.Fatalf("not in %s: %s", Patience, what)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// Number returns version n.
func Number(n int64) versioning.Version { return versioning.Must(versioning.Number(n)) }
