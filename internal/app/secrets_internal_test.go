package app

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/hms-utl/extsync/internal/broker"
	"github.com/hms-utl/extsync/internal/config"
	"github.com/hms-utl/extsync/pkg/connectors"
)

// A channel had the worker's key at the broker sent to a target of its own.
func TestChannelsDoNotGetTheWorkersOwnSecrets(t *testing.T) {
	dir := t.TempDir()
	file := func(name string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte("canary"), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	link := func(name, to string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.Symlink(to, path); err != nil {
			t.Fatal(err)
		}
		return path
	}
	cfg := config.Config{File: file("extsync.yaml"), NATS: broker.Config{
		CredsFile: file("worker.creds"), NKeySeedFile: file("seed.nk"), TLS: broker.TLS{CertFile: file("tls.crt"), KeyFile: file("tls.key")},
	}}
	if err := os.Link(cfg.NATS.NKeySeedFile, filepath.Join(dir, "hard")); err != nil {
		t.Fatal(err)
	}
	t.Setenv("EXTSYNC_NATS_URL", "nats://user:canary@127.0.0.1")
	t.Setenv("OTEL_EXPORTER_OTLP_HEADERS", "canary")
	t.Setenv("ERP_PASSWORD", "theirs")
	t.Chdir(dir)
	secrets := withoutOwn(connectors.Secrets{}, &cfg)
	for _, ref := range []string{
		"${env:EXTSYNC_NATS_URL}", "a${env:OTEL_EXPORTER_OTLP_HEADERS}", "${file:" + cfg.File + "}", "${file:" + cfg.NATS.CredsFile + "}",
		"${file:" + cfg.NATS.NKeySeedFile + "}", "${file:" + cfg.NATS.TLS.KeyFile + "}", "${file:seed.nk}", "${file:" + dir + "/../" + filepath.Base(dir) + "/seed.nk}",
		"${file:" + link("soft", "seed.nk") + "}", "${file:hard}", "${file:/proc/self/environ}", "${file:/proc/self/root" + cfg.NATS.NKeySeedFile + "}",
		"${file:" + link("environ", "/proc/self/environ") + "}", "${file:/dev/stdin}", "${file:" + dir + "}",
	} {
		got, err := secrets.Resolve(connectors.Ref(ref))
		if !errors.Is(err, connectors.ErrSecret) || got != "" {
			t.Errorf("%s: %q, %v", ref, got, err)
		}
	}
	for ref, want := range map[string]string{
		"${env:ERP_PASSWORD}": "theirs", "${file:" + file("erp") + "}": "canary", "${file:" + link("mounted", "erp") + "}": "canary", "${file:" + cfg.NATS.TLS.CertFile + "}": "canary",
	} {
		if got, err := secrets.Resolve(connectors.Ref(ref)); got != want || err != nil {
			t.Errorf("%s: %q, %v", ref, got, err)
		}
	}
}
