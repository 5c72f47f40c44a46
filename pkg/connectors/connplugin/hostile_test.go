package connplugin_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// Whatever a plugin does, its call ends with a class and a code, nothing that it said shows a
// secret, the next start gets through, and no process stays.
func TestHostilePlugins(t *testing.T) {
	for mode, want := range map[string]struct {
		class connectors.Class
		code  string
	}{
		"hello: dies":                               {connectors.Transient, "refused"},
		"hello: garbage":                            {connectors.Transient, "refused"},
		"hello: answers another":                    {connectors.Transient, "refused"},
		"hello: closes its output":                  {connectors.Transient, "refused"},
		"hello: speaks another version":             {connectors.Misconfigured, "protocol"},
		"hello: can nothing":                        {connectors.Misconfigured, "capabilities"},
		"open: dies":                                {connectors.Transient, "refused"},
		"open: 100 MB":                              {connectors.Transient, "refused"},
		"open: refuses its configuration":           {connectors.Misconfigured, "no_table"},
		"apply: dies":                               {connectors.Transient, "crashed"},
		"apply: dies after its work":                {connectors.Transient, "crashed"},
		"apply: dies after its answer":              {class: connectors.OK},
		"apply: answers twice":                      {class: connectors.OK},
		"apply: answers another":                    {connectors.Transient, "protocol"},
		"apply: never answers":                      {connectors.Transient, "timeout"},
		"apply: hangs":                              {connectors.Transient, "timeout"},
		"apply: 100 MB":                             {connectors.Transient, "protocol"},
		"apply: garbage":                            {connectors.Transient, "protocol"},
		"apply: half an answer":                     {connectors.Transient, "crashed"},
		"apply: closes its output":                  {connectors.Transient, "crashed"},
		"apply: too few results":                    {connectors.Transient, "protocol"},
		"apply: a class that is none":               {connectors.Transient, "protocol"},
		"apply: floods":                             {class: connectors.OK},
		"apply: leaves a child":                     {class: connectors.OK},
		"apply: dies and leaves a child":            {connectors.Transient, "crashed"},
		"apply: dies and leaves a child of its own": {connectors.Transient, "crashed"},
		"close: dies":                               {class: connectors.OK},
		"close: garbage":                            {class: connectors.OK},
		"close: never answers":                      {class: connectors.OK},
		"close: hangs":                              {class: connectors.OK},
		"close: leaves a child":                     {class: connectors.OK},
		"ignores its end":                           {class: connectors.OK},
	} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			p := newVillain(t, mode)
			most := testkit.Patience
			if want.code == "timeout" {
				testkit.Must(t, p.conn.Probe(t.Context())) // it has been started
				most = time.Second
			}
			results := p.apply("first", most)
			if len(results) != 1 || results[0].Class != want.class || results[0].Code != want.code {
				t.Errorf("%+v, want %s %q", results, want.class, want.code)
			}
			// Its next start is sound.
			testkit.Eventually(t, "the plugin works again", func() bool {
				return p.apply("second", testkit.Patience)[0].Class == connectors.OK
			})
			p.closed()
		})
	}
}

// A plugin that dies while it reads is started again, too.
func TestPluginDiesInRead(t *testing.T) {
	p := newVillain(t, "read: dies")
	if r := p.apply("k", testkit.Patience)[0]; r.Class != connectors.OK {
		t.Fatalf("%+v", r)
	}
	if held, err := p.conn.Read(t.Context(), []string{"k"}); err == nil || held != nil {
		t.Errorf("%v, %v", held, err)
	}
	testkit.Eventually(t, "it can be read again", func() bool {
		held, err := p.conn.Read(t.Context(), []string{"k"})
		return err == nil && held[0].Version == versioning.Must(versioning.Number(1))
	})
	p.closed()
}

// While a plugin may still work on a call whose time is over, nothing else is begun for its
// key, and it does not get more than it takes at once.
func TestAbandonedCallKeepsItsKey(t *testing.T) {
	p := newVillain(t, "apply: never answers")
	testkit.Must(t, p.conn.Probe(t.Context())) // it has been started
	if r := p.apply("k", 100*time.Millisecond)[0]; r.Code != "timeout" {
		t.Fatalf("%+v", r)
	}
	if r := p.apply("k", 100*time.Millisecond)[0]; r.Code != "timeout" {
		t.Errorf("the same key: %+v", r)
	}
	if r := p.apply("other", testkit.Patience)[0]; r.Class != connectors.OK {
		t.Errorf("another key: %+v", r)
	}
	p.closed()
}

// Nothing of the worker's environment reaches a plugin but PATH, and no secret but in open.
func TestPluginSeesNoSecretButItsOwn(t *testing.T) {
	t.Setenv("EXTSYNC_CANARY", "canary")
	p := newVillain(t, "tells all")
	if r := p.apply("k", testkit.Patience)[0]; r.Class != connectors.OK {
		t.Fatalf("%+v", r)
	}
	p.closed()
	told, err := os.ReadFile(filepath.Join(p.dir, "all"))
	testkit.Must(t, err)
	first, rest, _ := strings.Cut(string(told), "\n")
	if first != "PATH="+os.Getenv("PATH") || strings.Contains(rest, "=") || strings.Contains(rest, "swordfish") || strings.Contains(rest, "canary") {
		t.Errorf("it was told\n%s", told)
	}
}

// A villain is a hostile plugin and its connector.
type villain struct {
	t    *testing.T
	dir  string
	conn *connectors.Opened
	mu   sync.Mutex
	log  strings.Builder
}

func newVillain(t *testing.T, mode string) *villain {
	t.Helper()
	p := &villain{t: t, dir: t.TempDir()}
	data := filepath.Join(p.dir, "data")
	testkit.Must(t, os.Mkdir(data, 0o700))
	e := env(t, map[string]string{"SECRET": "swordfish"})
	e.Log = func(line string) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.log.WriteString(line + "\n")
	}
	p.conn = open(t, e, config(t, "{directory: '"+data+"', secret: '${env:SECRET}'}", mode, p.dir))
	return p
}

// apply writes version 1 of a key.
func (p *villain) apply(key string, most time.Duration) []connectors.Result {
	ctx, cancel := context.WithTimeout(p.t.Context(), most)
	defer cancel()
	u := events.Update{Channel: "c", Key: key, Version: versioning.Must(versioning.Number(1)), Op: events.Upsert, Payload: []byte("{}")}
	results := p.conn.Apply(ctx, []connectors.Attempt{{Update: u, Digest: u.Digest(), Number: 1}})
	for _, r := range results {
		if r.Err != nil && (strings.Contains(r.Err.Error(), "swordfish") || strings.Contains(r.Err.Error(), "\n")) {
			p.t.Errorf("%v", r.Err)
		}
	}
	return results
}

// closed closes the connector and checks that nothing is left.
func (p *villain) closed() {
	p.t.Helper()
	testkit.Must(p.t, p.conn.Close(p.t.Context()))
	if own, err := os.ReadFile(filepath.Join(p.dir, "own")); err == nil { // it has left the group
		pid, _ := strconv.Atoi(string(own))
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	numbers, err := filepath.Glob(filepath.Join(p.dir, "*.pid"))
	if err != nil || len(numbers) == 0 {
		p.t.Fatalf("%v, %v", numbers, err)
	}
	for _, name := range numbers {
		pid, _ := strconv.Atoi(strings.TrimSuffix(filepath.Base(name), ".pid"))
		testkit.Eventually(p.t, "process "+strconv.Itoa(pid)+" has ended", func() bool { return ended(pid) })
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if said := p.log.String(); strings.Contains(said, "swordfish") || len(said) > 200<<10 {
		p.t.Errorf("the log has %d bytes: %.2000s", len(said), said)
	}
}

// ended reports whether a process is gone, or is a zombie that somebody else is to wait for.
func ended(pid int) bool {
	if errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
		return true
	}
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err != nil || strings.Contains(string(stat), ") Z ")
}

// A connector leaves no goroutine and no thread's work behind, whenever it is closed.
func TestCloseAtOnce(t *testing.T) {
	leaks := goleak.IgnoreCurrent()
	for range 5 {
		testkit.Must(t, open(t, env(t, nil), config(t, "{}")).Close(t.Context()))
	}
	goleak.VerifyNone(t, leaks)
}
