package integration

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/hms-utl/extsync/internal/brokerconfig"
	"github.com/hms-utl/extsync/internal/cli"
)

// Written again for other channels, a configuration keeps its keys; the registry
// can name the channels.
func TestBrokerConfigFollowsTheRegistry(t *testing.T) {
	g := newGuarded(t, "portal")
	file := g.site.file("channels.yaml", fmt.Sprintf(guardedChannels, "http://127.0.0.1:9/")+"topics:\n  - {name: policies}\n")
	g.program(brokerconfig.Admin, "extsync", "channels", "apply", "-f", file).ok(t)
	conf := filepath.Join(g.dir, "server", "nats.conf")
	before := g.site.read(conf)
	g.program(brokerconfig.Admin, "extsync", "broker-config", "--out", g.dir, "--registry").ok(t)
	after := g.site.read(conf)
	if strings.Contains(before, "SYNC_UPD_cases") || !strings.Contains(after, "SYNC_UPD_cases") || !strings.Contains(after, "SYNC_UPD_portal") ||
		strings.Contains(before, "SYNC_TOPIC_policies") || !strings.Contains(after, "SYNC_TOPIC_policies") {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
	keys := func(text string) []string {
		return slices.DeleteFunc(strings.Split(text, "\n"), func(line string) bool { return !strings.Contains(line, "nkey: U") })
	}
	if !slices.Equal(keys(before), keys(after)) || len(keys(after)) != len(brokerconfig.Roles()) {
		t.Errorf("keys before: %q, after: %q", keys(before), keys(after))
	}
	if e := extsync("broker-config", "--out", t.TempDir(), "--channels", "a.b", "--server-listen", "0.0.0.0:4222").run(t); e.code != cli.ExitUsage ||
		!strings.Contains(e.err, "a.b") || !strings.Contains(e.err, "give certificates") {
		t.Errorf("exit code %d\n%s", e.code, e.err)
	}
}

var publicKey = regexp.MustCompile(`nkey: U[A-Z0-9]+`)

// The configuration in deploy/nats, which people read before they make their own,
// is what broker-config writes today, but for the keys.
func TestConfigurationInDeployIsUpToDate(t *testing.T) {
	dir := t.TempDir()
	extsync("broker-config", "--out", dir, "--channels", "appointment_calendar,erp_db", "--topics", "policies", "--services", "billing", "--certificates",
		"--server-listen", "0.0.0.0:4222", "--monitor", "127.0.0.1:8222", "--server-dir", "/etc/extsync/server", "--durability", "power").ok(t)
	made, err := os.ReadFile(filepath.Join(dir, "server", "nats.conf"))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(repository, "deploy", "nats", "nats.conf")
	if os.Getenv(updateVariable) != "" {
		if err := os.WriteFile(file, made, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	kept, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(publicKey.ReplaceAll(made, nil), publicKey.ReplaceAll(kept, nil)) {
		t.Error("deploy/nats/nats.conf is out of date: run 'make docs'")
	}
}
