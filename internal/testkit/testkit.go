// Package testkit has what tests of every package need and the standard library
// lacks.
package testkit

import (
	"math/rand"
	"testing"
	"time"

	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// Patience bounds every wait of a test. A test that passes never reaches it.
const Patience = 2 * time.Minute

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
	EventuallyWithin(t, Patience, what, holds)
}

// EventuallyWithin is Eventually with a patience of its own, for work that takes long.
func EventuallyWithin(t testing.TB, patience time.Duration, what string, holds func() bool) {
	t.Helper()
	deadline := time.After(patience)
	for !holds() {
		select {
		case <-deadline:
			t.Fatalf("not in %s: %s", patience, what)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// Number returns version n.
func Number(n int64) versioning.Version { return versioning.Must(versioning.Number(n)) }

// Version reads a version as people write it.
func Version(t testing.TB, s string) versioning.Version {
	t.Helper()
	v, err := versioning.Parse(s)
	Must(t, err)
	return v
}

// Tag returns a version whose content is named by a letter: "7a".
func Tag(t testing.TB, s string) versioning.Tag {
	t.Helper()
	return versioning.Tag{Version: Version(t, s[:len(s)-1]), Digest: versioning.Sum("upsert", []byte(s[len(s)-1:]))}
}

// EncodeKey returns the token of a key in subjects.
func EncodeKey(t testing.TB, key string) string {
	t.Helper()
	enc, err := events.EncodeKey(key)
	Must(t, err)
	return enc
}

// Seeded returns a source of randomness that differs in each run, and prints its
// seed so that a failure can be repeated.
func Seeded(t testing.TB) *rand.Rand {
	t.Helper()
	seed := time.Now().UnixNano()
	t.Logf("seed %d", seed)
	return rand.New(rand.NewSource(seed))
}
