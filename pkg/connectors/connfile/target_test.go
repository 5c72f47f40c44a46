package connfile_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hms-utl/extsync/internal/testdb"
	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connectortest"
	"github.com/hms-utl/extsync/pkg/connectors/connfile"
	"github.com/hms-utl/extsync/pkg/connectors/connkit"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// A target is a directory, and the way to it.
type target struct {
	kind    connectors.Kind
	config  string // without the layout
	secrets map[string]string
	dir     string // of this machine
}

func fileTarget(t testing.TB) *target {
	t.Helper()
	dir := t.TempDir()
	return &target{kind: connfile.File(), config: fmt.Sprintf("directory: %q\n", dir), dir: dir}
}

// sftpTarget is a directory of an OpenSSH server.
func sftpTarget(t testing.TB, s *testdb.SSHD) *target {
	t.Helper()
	return &target{
		kind: connfile.SFTP(), dir: s.Dir, secrets: map[string]string{"CHANNEL_KEY": s.PrivateKey},
		config: sftpConfig(s.Addr(), s.User, s.HostKey) + fmt.Sprintf("private_key: ${env:CHANNEL_KEY}\ndirectory: %q\n", s.Dir),
	}
}

func sftpConfig(addr, user string, hostKeys ...string) string {
	host, port, _ := strings.Cut(addr, ":")
	keys, _ := json.Marshal(hostKeys)
	return fmt.Sprintf("host: %s\nport: %s\nuser: %s\nhost_keys: %s\nallow_cidrs: [127.0.0.0/8]\n", host, port, user, keys)
}

func (d *target) open(t testing.TB, layout string) *connectors.Opened {
	t.Helper()
	c, err := d.tryOpen(t, layout)
	testkit.Must(t, err)
	return c
}

func (d *target) tryOpen(t testing.TB, layout string) (*connectors.Opened, error) {
	t.Helper()
	return connectors.Open(t.Context(), d.kind, connectortest.Env(d.secrets), []byte(d.config+layout))
}

// connect opens a connector that is closed with the test.
func (d *target) connect(t testing.TB, layout string) *connectors.Opened {
	t.Helper()
	c := d.open(t, layout)
	t.Cleanup(func() {
		if err := c.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	return c
}

// held is what a file says of its version, in each layout of these tests.
type held struct {
	Key string `json:"key"`
	versioning.Tag
	Op events.Op `json:"op"`
}

func readHeld(t testing.TB, path string) (h held, ok bool) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		return h, false // it was removed meanwhile
	}
	if err := json.Unmarshal(data, &h); err != nil {
		t.Errorf("%s: %v", path, err)
	}
	return h, true
}

// readVersions returns what a directory of the layout versions holds: of each key the file
// with the greatest name.
func (d *target) readVersions(t testing.TB, keys ...string) map[string]connectors.Held {
	t.Helper()
	out := map[string]connectors.Held{}
	for _, key := range keys {
		dir := filepath.Join(d.dir, connkit.KeyName(key, false))
		for range 100 { // the newest may change
			entries, _ := os.ReadDir(dir)
			last := ""
			for _, e := range entries {
				if !strings.HasPrefix(e.Name(), ".") {
					last = e.Name()
				}
			}
			if last == "" {
				break
			}
			version, _, _ := strings.Cut(last, ".")
			if h, ok := readHeld(t, filepath.Join(dir, "."+version+".tag")); ok {
				if h.Key != key {
					t.Errorf("the directory of %q has a file of %q", key, h.Key)
				}
				out[key] = connectors.Held{Tag: h.Tag, Op: h.Op}
				break
			}
		}
	}
	return out
}

// readCurrent returns what a directory of the layout current holds, whose payloads say their
// versions. A deleted key is not there.
func (d *target) readCurrent(t testing.TB, keys ...string) map[string]connectors.Held {
	t.Helper()
	out := map[string]connectors.Held{}
	for _, key := range keys {
		name := filepath.Join(d.dir, connkit.KeyName(key, false))
		if _, err := os.Stat(name + ".deleted"); err == nil {
			continue
		}
		if h, ok := readHeld(t, name+".json"); ok {
			out[key] = connectors.Held{Tag: h.Tag, Op: events.Upsert}
		}
	}
	return out
}

// readDrops returns the newest version of each key for which there is a file with a marker.
func (d *target) readDrops(t testing.TB, keys ...string) map[string]connectors.Held {
	t.Helper()
	entries, err := os.ReadDir(d.dir)
	testkit.Must(t, err)
	newest := map[string]held{}
	keep := func(h held) {
		if order, err := h.Version.Compare(newest[h.Key].Version); err == nil && order > 0 {
			newest[h.Key] = h
		}
	}
	for _, e := range entries {
		name, done := strings.CutSuffix(e.Name(), ".done")
		if !done {
			continue
		}
		data, err := os.ReadFile(filepath.Join(d.dir, name))
		if err != nil {
			t.Errorf("a marker without its file: %v", err)
			continue
		}
		for line := range strings.Lines(string(data)) {
			var h held
			if err := json.Unmarshal([]byte(line), &h); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			keep(h)
		}
	}
	out := map[string]connectors.Held{}
	for _, key := range keys {
		if h, ok := newest[key]; ok && h.Op != events.Delete {
			out[key] = connectors.Held{Tag: h.Tag, Op: events.Upsert}
		}
	}
	return out
}

// telling is a kind that maps each payload into one that says what it is of, as a channel's
// mapping would where a receiver has to know.
func telling(k connectors.Kind) connectors.Kind {
	open := k.Open
	k.Open = func(ctx context.Context, env connectors.Env, config []byte) (connectors.Connector, error) {
		c, err := open(ctx, env, config)
		if err != nil {
			return nil, err
		}
		return teller{c.(everything)}, nil
	}
	return k
}

type everything interface {
	connectors.Connector
	connectors.Batcher
	connectors.Prober
	connectors.Reader
	connectors.Previewer
}

type teller struct{ everything }

// Apply is that of the connector, with other payloads.
func (c teller) Apply(ctx context.Context, attempts []connectors.Attempt) []connectors.Result {
	mapped := make([]connectors.Attempt, len(attempts))
	for i, a := range attempts {
		if a.Op == events.Upsert {
			a.Payload, _ = json.Marshal(held{a.Key, versioning.Tag{Version: a.Version, Digest: a.Digest}, a.Op})
		}
		mapped[i] = a
	}
	return c.everything.Apply(ctx, mapped)
}

func attempt(key string, version int64, payload string) connectors.Attempt {
	u := events.Update{Channel: connectortest.Channel, Key: key, Version: testkit.Number(version), Op: events.Upsert, Payload: []byte(payload)}
	if payload == "" {
		u.Op = events.Delete
	}
	u = u.WithDefaults()
	return connectors.Attempt{Update: u, Digest: u.Digest(), Number: 1}
}

func apply(t testing.TB, c *connectors.Opened, a connectors.Attempt) connectors.Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), connectortest.Timeout)
	defer cancel()
	return c.Apply(ctx, []connectors.Attempt{a})[0]
}

func want(t testing.TB, res connectors.Result, class connectors.Class, code string) {
	t.Helper()
	if res.Class != class || res.Code != code {
		t.Errorf("class %s, code %q (%v); want %s, %q", res.Class, res.Code, res.Err, class, code)
	}
}

// names returns the names in a directory, hidden ones too.
func names(t testing.TB, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	testkit.Must(t, err)
	out := make([]string, len(entries))
	for i, e := range entries {
		out[i] = e.Name()
	}
	return out
}
