package integration

import (
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hms-utl/extsync/internal/cli"
	"github.com/hms-utl/extsync/internal/testdb"
)

// guardDoc is what channels test --guard writes with --json.
type guardDoc struct {
	Channel, Key, Result, Error, Payload, Guard, First, Left string
	Readable                                                 bool
	Writers, Rounds                                          int
	Violations                                               []struct {
		Round                int
		Rule, Version, Newer string
	}
}

// A register is a receiver that keeps the newest version of each key and refuses older
// ones. One that checks, then acts, looks at what it holds before it stores, and not while
// it does.
type register struct {
	checksThenActs bool

	mu      sync.Mutex
	changed chan struct{} // closed when something is stored
	held    map[string]int64
	op      map[string]string
	bodies  []string
	writes  int
}

func newRegister(checksThenActs bool) *register {
	return &register{checksThenActs: checksThenActs, changed: make(chan struct{}), held: map[string]int64{}, op: map[string]string{}}
}

func (g *register) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	key := strings.TrimPrefix(r.URL.Path, "/")
	if r.Method == http.MethodGet {
		if g.held[key] == 0 {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		w.Header().Set("ce-entityversion", strconv.FormatInt(g.held[key], 10))
		w.Header().Set("ce-op", g.op[key])
		return
	}
	g.writes++
	version, err := strconv.ParseInt(r.Header.Get("ce-entityversion"), 10, 64)
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	if g.held[key] > version {
		w.Header().Set("ce-entityversion", strconv.FormatInt(g.held[key], 10))
		w.WriteHeader(http.StatusConflict)
		return
	}
	if g.checksThenActs {
		g.awaitNewer(key, version)
	}
	g.held[key], g.op[key], g.bodies = version, r.Header.Get("ce-op"), append(g.bodies, string(body))
	close(g.changed)
	g.changed = make(chan struct{})
}

// awaitNewer is a barrier between the check and the act: it lets a newer version of the
// key be written first, if there is one on its way.
func (g *register) awaitNewer(key string, version int64) {
	enough := time.NewTimer(5 * time.Millisecond)
	defer enough.Stop()
	for waiting := true; waiting && g.held[key] <= version; {
		changed := g.changed
		g.mu.Unlock()
		select {
		case <-changed:
		case <-enough.C:
			waiting = false
		}
		g.mu.Lock()
	}
}

// guardChannels are one channel for each target that races here.
const guardChannels = `
channels:
  - name: holds
    filter: .public
    mapping: '{id: $key, v: $version}'
    connector: {kind: http, config: {url: '%[1]s/{key}', method: PUT, allow_cidrs: [127.0.0.0/8], read: {url: '%[1]s/{key}'}}}
  - name: holds_unread
    connector: {kind: http, config: {url: '%[1]s/{key}', method: PUT, allow_cidrs: [127.0.0.0/8]}}
  - name: breaks
    connector: {kind: http, config: {url: '%[2]s/{key}', method: PUT, allow_cidrs: [127.0.0.0/8], read: {url: '%[2]s/{key}'}}}
  - name: breaks_unread
    connector: {kind: http, config: {url: '%[2]s/{key}', method: PUT, allow_cidrs: [127.0.0.0/8]}}
  - name: fails
    connector: {kind: http, config: {url: '%[3]s/{key}', allow_cidrs: [127.0.0.0/8]}}
  - name: sqlite
    connector: {kind: sql, config: {dialect: sqlite, dsn: '%[4]s', auto_create: true}}
  - name: postgres
    connector: {kind: sql, config: {dialect: postgres, dsn: '%[5]s', auto_create: true, allow_cidrs: [127.0.0.0/8]}}
  - name: appends
    connector: {kind: sql, config: {dialect: sqlite, dsn: '%[4]s', mode: append, auto_create: true}}
`

// A race at real targets accuses none that holds, and finds the receiver that checks and
// then acts, whether it can be read or not.
func TestChannelsTestGuard(t *testing.T) {
	t.Parallel()
	holds, breaks := newRegister(false), newRegister(true)
	dir := t.TempDir()
	file := (&site{t: t, dir: dir}).file("channels.yaml", fmt.Sprintf(guardChannels,
		target(t, holds.ServeHTTP), target(t, breaks.ServeHTTP),
		target(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnprocessableEntity) }),
		filepath.Join(dir, "guard.db"), testdb.Postgres(t)))
	run := func(channel string, args ...string) program {
		return extsync(append([]string{"channels", "test", channel, "-f", file, "--guard", "--data", `{"public":true}`}, args...)...)
	}
	race := func(channel string, code int, args ...string) (doc guardDoc) {
		t.Helper()
		e := run(channel, append([]string{"--send", "--json"}, args...)...).run(t)
		if e.code != code {
			t.Fatalf("%s: exit code %d, want %d\n%s%s", channel, e.code, code, e.out, e.err)
		}
		decodeJSON(t, e.out, &doc)
		t.Logf("%s: %s in %d rounds, %d violations", channel, doc.Result, doc.Rounds, len(doc.Violations))
		return doc
	}

	if out := run("holds", "k").ok(t); holds.writes != 0 || !strings.Contains(out, "nothing was sent; --send has 8 writers race") || !strings.Contains(out, "its tombstone stays") {
		t.Errorf("without --send: %d writes\n%s", holds.writes, out)
	}
	for channel, guard := range map[string]string{"holds": "by format", "holds_unread": "by format", "sqlite": "atomic", "postgres": "atomic"} {
		doc := race(channel, cli.ExitOK)
		if doc.Result != "holds" || doc.Guard != guard || doc.Rounds != 20 || doc.Writers != 8 || len(doc.Violations) != 0 || doc.Left != "" ||
			doc.Readable == (channel == "holds_unread") || doc.First != "1" || !strings.HasPrefix(doc.Key, "extsync-guard-") {
			t.Errorf("%s: %+v", channel, doc)
		}
	}
	// Each version goes through the mapping; the tombstone ends it.
	if doc := race("holds", cli.ExitOK, "mine", "5"); doc.Key != "mine" || doc.Payload != `{"id":"mine","v":5}` || holds.held["mine"] != 185 || holds.op["mine"] != "delete" ||
		!slices.Contains(holds.bodies, `{"id":"mine","v":184}`) {
		t.Errorf("%+v; it holds %s of version %d", doc, holds.op["mine"], holds.held["mine"])
	}
	if doc := race("sqlite", cli.ExitOK, "again", "7"); doc.First != "7" {
		t.Errorf("%+v", doc)
	}
	if doc := race("sqlite", cli.ExitOK, "again", "188"); doc.Result != "holds" {
		t.Errorf("the same key once more: %+v", doc)
	}

	doc := race("breaks", cli.ExitFound)
	if doc.Result != "broken" || len(doc.Violations) == 0 || doc.Violations[0].Rule != "holds_older" || doc.Violations[0].Newer == "" {
		t.Errorf("breaks: %+v", doc)
	}
	if doc := race("breaks_unread", cli.ExitFound); len(doc.Violations) == 0 || doc.Violations[0].Rule != "took_older" {
		t.Errorf("breaks, not read: %+v", doc)
	}
	e := run("breaks_unread", "--send").run(t)
	for _, want := range []string{"your receiver took an older version after a newer one: ", "the guard does not hold: ", "key:      extsync-guard-", "cannot be read", `payload:  {"public":true}`} {
		if e.code != cli.ExitFound || !strings.Contains(e.out, want) {
			t.Errorf("exit code %d, it does not say %q:\n%s%s", e.code, want, e.out, e.err)
		}
	}

	// Nothing races where nothing can.
	refused(t, run("appends", "--send"), cli.ExitRefused, "nothing to race", "every version is kept beside the others", "extsync kinds")
	refused(t, run("holds", "--op", "delete"), cli.ExitUsage, "--op")
	holds.held["taken"], holds.op["taken"] = 3, "upsert"
	refused(t, run("holds", "taken", "--send", "--json"), cli.ExitRefused, "the target has this key", "version 3")
	if doc := race("fails", cli.ExitUndelivered); doc.Result != "failed" || !strings.Contains(doc.Error, "422") || doc.Left != "" {
		t.Errorf("fails: %+v", doc)
	}
	kept := extsync("channels", "test", "holds", "-f", file, "--guard", "--send", "--data", `{"public":false}`).run(t)
	if kept.code != cli.ExitUndelivered || !strings.Contains(kept.err, "the filter keeps it back") {
		t.Errorf("filtered: %+v", kept)
	}
}

// TestTombstoneOfARaceIsNotExtra: an audit would find the key of every race for ever.
func TestTombstoneOfARaceIsNotExtra(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.apply("http://127.0.0.1:1/x")
	out := s.extsync("channels", "test", "erp_db", "--guard", "--data", "{}", "--send").ok(t)
	if !strings.Contains(out, "the guard held in 20 rounds") {
		t.Errorf("the race:\n%s", out)
	}
	var doc auditDoc
	s.extsync("audit", "erp_db", "--json").decode(t, &doc)
	if doc.Summary.Extra != 0 {
		t.Errorf("%+v", doc)
	}
}
