package connplugin_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connectortest"
	"github.com/hms-utl/extsync/pkg/connectors/connplugin"
	"github.com/hms-utl/extsync/pkg/events"
)

// env allows the test's own program, and whatever else is given.
func env(t *testing.T, secrets map[string]string, programs ...string) connectors.Env {
	t.Helper()
	host := connectortest.Host(secrets)
	self, err := os.Executable()
	testkit.Must(t, err)
	host.Allow.Programs = append(connectors.List{self}, programs...)
	e := host.Env(connectortest.Channel)
	e.Concurrency, e.Timeout = connectortest.Concurrency, connectortest.Timeout
	e.Log = func(line string) { t.Log(line) }
	return e
}

// config starts the test's own program with these arguments.
func config(t *testing.T, plugin string, args ...string) []byte {
	t.Helper()
	self, err := os.Executable()
	testkit.Must(t, err)
	command := fmt.Sprintf("%q", append([]string{self, asPlugin}, args...))
	return []byte("{command: " + strings.ReplaceAll(command, `" "`, `", "`) + ", config: " + plugin +
		", capabilities: {guard: atomic, keeps_digest: true, keeps_tombstone: true, probes: true, reads: true}, kill_after: 1s}")
}

func open(t *testing.T, e connectors.Env, config []byte) *connectors.Opened {
	t.Helper()
	c, err := connectors.Open(t.Context(), connplugin.Kind(), e, config)
	testkit.Must(t, err)
	return c
}

func TestConformance(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "d")
	testkit.Must(t, os.Mkdir(dir, 0o700))
	e := env(t, map[string]string{"DIRECTORY": dir})
	e.Log = nil // a case may be over when its plugin says its last words
	conformance(t, dir, func(t *testing.T) *connectors.Opened {
		t.Helper()
		return open(t, e, config(t, "{directory: '${env:DIRECTORY}'}"))
	})
}

func conformance(t *testing.T, dir string, open func(*testing.T) *connectors.Opened) {
	t.Helper()
	truth := &reader{dir: dir}
	move := func(t *testing.T, from, to string) {
		t.Helper()
		testkit.Must(t, os.Rename(from, to))
	}
	connectortest.Run(t, connectortest.Target{
		Open: open, Read: truth.read,
		Guarded: true, KeepsDigest: true, Tombstones: true,
		BadUpdate: func(u *events.Update) { u.Payload = []byte("{") },
		Cut:       func(t *testing.T) { move(t, dir, dir+".away") },
		Restore:   func(t *testing.T) { move(t, dir+".away", dir) },
		Secrets:   []string{dir},
	})
}
