package local_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/hms-utl/extsync/internal/app"
	"github.com/hms-utl/extsync/internal/config"
	"github.com/hms-utl/extsync/internal/local"
	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/extsync"
	"github.com/hms-utl/extsync/pkg/outbox"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func startReceiver(t *testing.T) *local.Receiver {
	t.Helper()
	r, err := local.StartReceiver(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// call sends an update, or with version "" a plain GET.
func call(t *testing.T, r *local.Receiver, version, body string) (status int, held, answer string) {
	t.Helper()
	method := http.MethodPost
	if version == "" {
		method = http.MethodGet
	}
	req, err := http.NewRequestWithContext(t.Context(), method, r.URL(), strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Close = true
	req.Header.Set(events.HeaderSubject, "a%20b")
	req.Header.Set(events.HeaderVersion, version)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header.Get(events.HeaderVersion), string(data)
}

func TestReceiverRefusesOlderVersions(t *testing.T) {
	r := startReceiver(t)
	for _, step := range []struct {
		version, held string
		status        int
	}{
		{"7", "7", http.StatusOK},
		{"6", "7", http.StatusConflict},
		{"7", "7", http.StatusOK},
		{"10", "10", http.StatusOK},
		{"9", "10", http.StatusConflict},
		{"2024-05-01T12:00:00Z", "10", http.StatusConflict},
		{"x", "", http.StatusBadRequest},
	} {
		status, held, _ := call(t, r, step.version, "content of "+step.version)
		if status != step.status || held != step.held {
			t.Errorf("version %s: status %d, held %q; want %d, %q", step.version, status, held, step.status, step.held)
		}
	}
	item, ok := r.Item("a b")
	if !ok || item.Version.String() != "10" || item.Content != "content of 10" {
		t.Errorf("item = %+v", item)
	}
	if calls := r.Calls(); len(calls) != 6 || calls[1].Status != http.StatusConflict {
		t.Errorf("calls = %+v", calls)
	}
	if _, _, list := call(t, r, "", ""); !strings.Contains(list, "content of 10") {
		t.Errorf("list = %s", list)
	}
}

func TestReceiverComesBackAtItsAddress(t *testing.T) {
	r := startReceiver(t)
	url := r.URL()
	call(t, r, "7", "x")
	for range 2 { // the second time is of no effect
		if err := r.Pause(); err != nil {
			t.Fatal(err)
		}
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	if resp, err := http.DefaultClient.Do(req); err == nil {
		_ = resp.Body.Close()
		t.Error("a paused receiver answers")
	}
	if err := r.Resume(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r.URL() != url {
		t.Errorf("URL = %s, was %s", r.URL(), url)
	}
	if item, ok := r.Item("a b"); !ok || item.Content != "x" {
		t.Error("what it held is gone")
	}
}

func TestStackRefusesWhatCannotWork(t *testing.T) {
	dir := t.TempDir()
	if _, err := local.Start(t.Context(), local.Options{Dir: dir, Listen: "0.0.0.0:0"}); !errors.Is(err, connectors.ErrConfig) {
		t.Errorf("open listener: error = %v, want ErrConfig", err)
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := local.Start(t.Context(), local.Options{Dir: file}); !errors.Is(err, app.ErrEmbedded) {
		t.Errorf("a file as directory: error = %v, want ErrEmbedded", err)
	}
	cfg := config.Default()
	cfg.Storage.MaxStore = 1 << 20 // less than provisioning reserves
	if _, err := local.Start(t.Context(), local.Options{Dir: filepath.Join(dir, "small"), Config: cfg}); err == nil {
		t.Error("a broker too small to provision was started")
	}
}

// anyPort has the HTTP API take a free port.
func anyPort() config.Config {
	cfg := config.Default()
	cfg.HTTP.Listen = "127.0.0.1:0"
	return cfg
}

func TestDevEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	dir := t.TempDir()
	ready := false
	err := local.RunDev(ctx, local.DevOptions{
		Dir: dir, Listen: "127.0.0.1:0", Config: anyPort(),
		Ready: func(d local.Dev) error {
			ready = true
			if d.BrokerURL == "" || d.ReceiverURL == "" || d.APIURL == "" || len(d.Channels) != 2 || d.Channels[0].Change != channels.Created {
				t.Errorf("dev = %+v", d)
			}
			cancel()
			return nil
		},
	})
	if err != nil || !ready {
		t.Errorf("ready %v, error %v", ready, err)
	}
}

// What a transaction puts into the outbox of the development stack reaches its target, also
// what was put while nothing ran.
func TestDevRelaysItsOutbox(t *testing.T) {
	dir := t.TempDir()
	for version := int64(1); version <= 2; version++ {
		ctx, cancel := context.WithCancel(t.Context())
		platform, err := local.OpenPlatform(ctx, filepath.Join(dir, "outbox.db"))
		testkit.Must(t, err)
		u := events.Update{Channel: local.ERPChannel, Key: "k", Version: testkit.Number(version), Payload: []byte(`{}`)}
		tx, err := platform.BeginTx(ctx, nil)
		testkit.Must(t, err)
		testkit.Must(t, outbox.Put(ctx, outbox.SQL(tx, outbox.SQLite), u))
		testkit.Must(t, tx.Commit())
		testkit.Must(t, platform.Close())
		err = local.RunDev(ctx, local.DevOptions{
			Dir: dir, Listen: "127.0.0.1:0", Config: anyPort(),
			Ready: func(d local.Dev) error {
				client, err := extsync.Connect(ctx, d.BrokerURL)
				if err != nil {
					return err
				}
				defer client.Close()
				testkit.Eventually(t, "the update to be delivered", func() bool {
					ack, err := client.Outcome(ctx, u.Channel, u.Key, u.Version)
					return err == nil && ack.Outcome == events.Delivered
				})
				cancel()
				return nil
			},
		})
		testkit.Must(t, err)
	}
}

func TestDevEndsIfNobodyCanBeTold(t *testing.T) {
	want := errors.New("broken pipe")
	err := local.RunDev(t.Context(), local.DevOptions{
		Dir: t.TempDir(), Listen: "127.0.0.1:0", Config: anyPort(),
		Ready: func(local.Dev) error { return want },
	})
	if !errors.Is(err, want) {
		t.Errorf("error = %v", err)
	}
}

func TestDevEndsIfTheAPICannotListen(t *testing.T) {
	taken, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	cfg := config.Default()
	cfg.HTTP.Listen = taken.Addr().String()
	err = local.RunDev(t.Context(), local.DevOptions{
		Dir: t.TempDir(), Listen: "127.0.0.1:0", Config: cfg,
		Ready: func(local.Dev) error { t.Error("it says that it runs"); return nil },
	})
	if !errors.Is(err, connectors.ErrConfig) || !strings.Contains(err.Error(), "--http-listen") {
		t.Errorf("error = %v", err)
	}
}
