package connfile_test

import (
	"os"
	"strings"
	"testing"

	"github.com/hms-utl/extsync/internal/testdb"
	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connectortest"
	"github.com/hms-utl/extsync/pkg/events"
)

// suite describes a target in a layout.
func (d *target) suite(layout string) connectortest.Target {
	out := connectortest.Target{Times: true}
	switch layout {
	case "layout: versions\n":
		out.Guarded, out.KeepsDigest, out.Tombstones = true, true, true
		out.Read = func(t *testing.T, keys ...string) map[string]connectors.Held { return d.readVersions(t, keys...) }
	case "layout: current\n":
		d.kind = telling(d.kind)
		out.Read = func(t *testing.T, keys ...string) map[string]connectors.Held { return d.readCurrent(t, keys...) }
	default:
		d.kind = telling(d.kind)
		out.Read = func(t *testing.T, keys ...string) map[string]connectors.Held { return d.readDrops(t, keys...) }
	}
	out.Open = func(t *testing.T) *connectors.Opened { return d.open(t, layout) }
	out.Faults = []connectortest.Fault{
		{Name: "no directory", Want: connectors.Misconfigured, Code: "missing", Arm: func(t *testing.T, _ *events.Update) func() {
			testkit.Must(t, os.Rename(d.dir, d.dir+".away"))
			return func() { testkit.Must(t, os.Rename(d.dir+".away", d.dir)) }
		}},
	}
	return out
}

func layouts() map[string]string {
	return map[string]string{
		"versions": "layout: versions\n", "current": "layout: current\n",
		"drop": "layout: drop\n", "batches": "layout: drop\nbatch: ndjson\n",
	}
}

func TestFileConforms(t *testing.T) {
	for name, layout := range layouts() {
		t.Run(name, func(t *testing.T) { connectortest.Run(t, fileTarget(t).suite(layout)) })
	}
}

// On Debian's own server. The layouts that keep every update are tested behind a relay, on
// the program that it runs for SFTP.
func TestSFTPConforms(t *testing.T) {
	for name, layout := range layouts() {
		if strings.Contains(layout, "drop") {
			continue
		}
		t.Run(name, func(t *testing.T) {
			s := testdb.StartSSHD(t)
			d := sftpTarget(t, s)
			suite := d.suite(layout)
			suite.Secrets = []string{s.PrivateKey}
			suite.Cut, suite.Restore = func(t *testing.T) { s.Stop(t) }, func(t *testing.T) { s.Start(t) }
			connectortest.Run(t, suite)
		})
	}
}
