package wire_test

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

	"github.com/nats-io/nats.go"

	"github.com/hms-utl/extsync/internal/natsserver/natstest"
	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/events"
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
		t.Fatalf("%v (go test ./internal/wire -update writes it)", err)
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

func quickConfig(t *testing.T) *quick.Config {
	t.Helper()
	return &quick.Config{MaxCount: 2000, Rand: testkit.Seeded(t)}
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

// platform is a provisioned broker with two channels, "latest" and "every".
type platform struct {
	*natstest.Broker
	names events.Names
}

func newPlatform(t *testing.T, o ...natstest.Options) *platform {
	t.Helper()
	p := &platform{Broker: natstest.Run(t, o...), names: events.DefaultNames()}
	testkit.Must(t, channels.Provision(t.Context(), p.JS, p.names, channels.Storage{}))
	kind := connectors.Kind{Name: "none", Check: func([]byte) error { return nil }}
	registry, err := channels.OpenRegistry(t.Context(), p.JS, p.names, connectors.NewCatalog(kind))
	testkit.Must(t, err)
	for name, mode := range map[string]channels.Mode{"latest": channels.Latest, "every": channels.Every} {
		c := channels.Config{Name: name, Mode: mode}
		c.Connector.Kind = "none"
		_, err := registry.Put(t.Context(), c, 0)
		testkit.Must(t, err)
	}
	return p
}
