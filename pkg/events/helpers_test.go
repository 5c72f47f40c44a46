package events_test

import (
	"flag"
	"fmt"
	"maps"
	"math/rand"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/quick"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

var update = flag.Bool("update", false, "write the golden files anew") //nolint:gochecknoglobals // a flag of the test binary

// golden compares got with a file of testdata: a change of what is on the wire
// or stored must be seen in review.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v (go test ./pkg/events -update writes it)", err)
	}
	if got != string(want) {
		t.Errorf("%s changed.\ngot:\n%s\nwant:\n%s", path, got, want)
	}
}

// show writes a message down as people would: subject, headers by name, payload.
func show(m *nats.Msg) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n", m.Subject)
	for _, name := range slices.Sorted(maps.Keys(m.Header)) {
		for _, value := range m.Header[name] {
			fmt.Fprintf(&b, "%s: %s\n", name, value)
		}
	}
	fmt.Fprintf(&b, "\n%s\n", m.Data)
	return b.String()
}

func version(t testing.TB, s string) versioning.Version {
	t.Helper()
	v, err := versioning.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func encodeKey(t testing.TB, key string) string {
	t.Helper()
	enc, err := events.EncodeKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return enc
}

func quickConfig(t *testing.T) *quick.Config {
	t.Helper()
	return &quick.Config{MaxCount: 2000, Rand: seeded(t)}
}

// seeded returns a source of randomness that differs in each run, and prints its
// seed so that a failure can be repeated.
func seeded(t *testing.T) *rand.Rand {
	t.Helper()
	seed := time.Now().UnixNano()
	t.Logf("seed %d", seed)
	return rand.New(rand.NewSource(seed))
}

// randomKey returns a key of what keys meet: separators of subjects, headers and
// URLs, marks of the encodings, control characters, and more than one byte.
func randomKey(r *rand.Rand) string {
	alphabet := []rune("abcXYZ019_-=.*>%/\\ \"'\t\r\n\x00\x7f:;,|?&#+äß語😀\u00a0\u2028")
	n := 1 + r.Intn(12)
	if r.Intn(8) == 0 {
		n = 60 + r.Intn(190) // around the length from which keys are hashed
	}
	runes := make([]rune, n)
	for i := range runes {
		runes[i] = alphabet[r.Intn(len(alphabet))]
	}
	return string(runes)
}

// place returns a place in the outcome log.
func place(seq uint64) events.LogPosition {
	return events.LogPosition{Incarnation: 0x692a1b2c00000001, Seq: seq}
}
