package integration

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hms-utl/extsync/internal/brokerconfig"
	"github.com/hms-utl/extsync/internal/cli"
	"github.com/hms-utl/extsync/internal/testkit"
)

// A platformTable is a table of a platform, in a SQLite file.
type platformTable struct {
	t    *testing.T
	path string
	db   *sql.DB
}

func newPlatformTable(t *testing.T) *platformTable {
	t.Helper()
	p := &platformTable{t: t, path: filepath.Join(t.TempDir(), "platform.db")}
	var err error
	p.db, err = sql.Open("sqlite", "file:"+p.path+"?_pragma=journal_mode(WAL)&_pragma=busy_timeout(10000)")
	testkit.Must(t, err)
	t.Cleanup(func() { testkit.Must(t, p.db.Close()) })
	p.exec("CREATE TABLE policies (id TEXT PRIMARY KEY, change_no INTEGER, body TEXT)")
	return p
}

func (p *platformTable) exec(text string, args ...any) {
	p.t.Helper()
	_, err := p.db.ExecContext(p.t.Context(), text, args...)
	testkit.Must(p.t, err)
}

func (p *platformTable) set(id string, changeNo int) {
	p.t.Helper()
	p.exec("REPLACE INTO policies VALUES (?, ?, ?)", id, changeNo, fmt.Sprintf(`{"no": %d}`, changeNo))
}

// flags are what a relay of the table is told.
func (p *platformTable) flags(target string, more ...string) []string {
	return append([]string{
		"relay", "--relay-dialect", "sqlite", "--relay-dsn", p.path, "--relay-target", target, "--relay-poll", "50ms",
		"--relay-query", "SELECT id AS key, change_no AS version, body AS payload FROM policies WHERE change_no > :since",
	}, more...)
}

// comparedLines reads lines of JSON, the last of which is the summary.
func comparedLines(t *testing.T, out string) (found []string, open int64) {
	t.Helper()
	for line := range strings.Lines(out) {
		var one struct {
			Finding, Key string
			Repaired     bool
			Summary      *struct{ Missing, Behind, Ahead, Gone, Repaired int64 }
		}
		testkit.Must(t, json.Unmarshal([]byte(line), &one))
		if s := one.Summary; s != nil {
			return found, s.Missing + s.Behind + s.Ahead + s.Gone - s.Repaired
		}
		found = append(found, fmt.Sprint(one.Finding, " ", one.Key, " ", one.Repaired))
	}
	t.Fatalf("there is no summary:\n%s", out)
	return nil, 0
}

// A platform's own table is relayed and compared by a publisher in its role, which is allowed
// everything that takes: to channels of both modes.
func TestRelayOfATable(t *testing.T) {
	t.Parallel()
	url := target(t, func(http.ResponseWriter, *http.Request) {})
	g := newGuarded(t, "portal,cases")
	file := g.site.file("channels.yaml", fmt.Sprintf(guardedChannels, url))
	g.program(brokerconfig.Admin, "extsync", "channels", "apply", "-f", file).ok(t)
	g.worker()
	for _, target := range []string{"portal", "cases"} {
		table := newPlatformTable(t)
		publisher := func(more ...string) program {
			return g.program(brokerconfig.Publisher, "publisher", table.flags(target, more...)...)
		}
		table.set("a", 1)
		table.set("b", 2)
		e := publisher("--compare").run(t)
		for _, want := range []string{"missing  " + target + " a: the platform has version 1\n", "2 rows: 0 agree, 2 missing, 0 behind", "--repair publishes them"} {
			if e.code != cli.ExitFound || !strings.Contains(e.out, want) {
				t.Errorf("%s: code %d, no %q in\n%s%s", target, e.code, want, e.out, e.err)
			}
		}
		relay, at := g.serving(brokerconfig.Publisher, scrapedAt, "publisher", table.flags(target, "--telemetry-listen", "127.0.0.1:0")...)
		delivered := func(key, version string) {
			t.Helper()
			g.program(brokerconfig.Admin, "extsync", "wait", target, key+"@"+version, "--timeout", "30s").ok(t)
		}
		delivered("a", "1")
		delivered("b", "2")
		g.ready(at)
		testkit.Eventually(t, "two rows to be counted", func() bool {
			return strings.Contains(g.ask(http.MethodGet, at+"/metrics", "").body, `extsync_relay_rows_total{result="published",target="`+target+`"} 2`)
		})
		table.set("a", 3)
		delivered("a", "3")
		g.end(relay, "")

		table.set("b", 1) // the platform comes back older
		table.set("c", 4)
		table.exec("DELETE FROM policies WHERE id = 'a'")
		e = publisher("--compare", "--repair", "--json").run(t)
		found, open := comparedLines(t, e.out)
		if got := strings.Join(found, ", "); e.code != cli.ExitFound || got != "missing c true, ahead b false, gone a false" || open != 2 {
			t.Errorf("%s: code %d, %d open: %s\n%s", target, e.code, open, got, e.err)
		}
		delivered("c", "4")
		table.set("b", 2)
		table.set("a", 3)
		if out := publisher("--compare", "--repair").ok(t); !strings.HasPrefix(out, "3 rows: 3 agree, ") {
			t.Errorf("%s: %s", target, out)
		}
	}
}

// What a relay cannot do with a query it says at once, and what to do.
func TestRelaySaysWhatIsWrongWithAQuery(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.apply("http://127.0.0.1:1/x")
	table := newPlatformTable(t)
	publisher := func(args ...string) program { return program{name: "publisher", args: args, env: s.env} }
	query := func(text string, more ...string) program {
		return publisher(append([]string{"relay", "--relay-dialect", "sqlite", "--relay-dsn", table.path, "--relay-target", "erp_db", "--relay-query", text}, more...)...)
	}
	refused(t, publisher("relay", "--relay-dialect", "sqlite", "--relay-dsn", table.path, "--compare"), cli.ExitUsage, "--compare needs the query", "--relay-query")
	refused(t, publisher("relay", "--repair"), cli.ExitUsage, "--repair is a part of --compare")
	refused(t, publisher("relay", "--relay-target", "erp_db"), cli.ExitUsage, "relay.target", "there is none (relay.query)")
	refused(t, query("SELECT 1"), cli.ExitUsage, "the query cannot be used: :since is not in it")
	refused(t, query("SELECT id, change_no AS version, body AS payload FROM policies WHERE change_no > :since"), cli.ExitUsage, `no use for column "id"`, "a query gives the columns key, version, payload")
	refused(t, query("SELECT 1 WHERE 1 > :since", "--relay-versions", "counter", "--relay-overlap", "5m"), cli.ExitUsage, "relay.versions", "number or time", "relay.overlap", "5m")
	refused(t, query("SELECT 1 AS key, 2 AS version, 3 AS payload WHERE 1 > :since", "--relay-target", "erp_dbb", "--compare"), cli.ExitUnknown, "erp_dbb")

	// The file of settings says the same.
	table.set("a", 1)
	file := s.file("relay.yaml", fmt.Sprintf(`relay:
  dialect: sqlite
  dsn: %q
  target: erp_db
  overlap: 100
  compare_every: 1h
  query: |
    SELECT id AS key, change_no AS version, body AS payload
    FROM policies  -- :since is the version
    WHERE change_no > :since;
`, table.path))
	e := publisher("relay", "--config", file, "--compare", "--repair").run(t)
	if e.code != 0 || !strings.Contains(e.out, "missing  erp_db a: the platform has version 1; published\n") || !strings.Contains(e.out, "1 of 1 were published.") {
		t.Errorf("code %d: %s%s", e.code, e.out, e.err)
	}

	// A database that is not there yet is waited for by a relay, and not by a comparison.
	table.exec("ALTER TABLE policies RENAME TO elsewhere")
	p := publisher("relay", "--config", file).start(t)
	testkit.Eventually(t, "it to say so", func() bool { return strings.Contains(p.stderr(), "the query cannot be read; trying again") })
	table.exec("ALTER TABLE elsewhere RENAME TO policies")
	testkit.Eventually(t, "it to go on", func() bool { return strings.Contains(p.stderr(), "the query can be read again") })
	p.signal(t, syscall.SIGTERM)
	if code := p.wait(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// A table of any size is compared, repaired and relayed in memory that does not grow with it,
// but for eight bytes for each key and those of one that is gone.
func TestCompareOfALargeTable(t *testing.T) {
	t.Parallel()
	few, many := sized(t, "rows at first", 2_000, 20_000), sized(t, "rows then", 20_000, 1_000_000)
	s := newSite(t)
	s.extsync("channels", "apply", "-f", s.file("large.yaml", `channels: [{name: large, max_bytes: 4GiB, connector: {kind: http, config: {url: "http://127.0.0.1:1/x", allow_cidrs: [127.0.0.0/8]}}}]`)).ok(t)
	table := newPlatformTable(t)
	upto := 0
	compare := func(code, rows int, more ...string) float64 {
		t.Helper()
		began := time.Now()
		e, peak := program{name: "publisher", args: table.flags("large", append([]string{"--compare"}, more...)...), env: s.env}.peak(t)
		if e.code != code || !strings.Contains(e.out, fmt.Sprintf("%d rows: ", rows)) {
			t.Fatalf("code %d, want %d, and %d rows:\n%.2000s%.2000s", e.code, code, rows, e.out, e.err)
		}
		t.Logf("%d rows %v: %.1f s, %.0f MiB", rows, more, time.Since(began).Seconds(), peak)
		return peak
	}
	run := func(rows int) float64 {
		table.exec(`WITH RECURSIVE n(i) AS (SELECT ? UNION ALL SELECT i+1 FROM n WHERE i < ?)
			INSERT INTO policies SELECT printf('entity-%07d', i), i, printf('{"no": %d, "text": "%.400c"}', i, 'x') FROM n`, upto+1, rows)
		upto = rows
		return max(compare(cli.ExitOK, rows, "--repair"), compare(cli.ExitOK, rows))
	}
	before := run(few)
	if after := run(many); after > before+24+64*float64(many)/(1<<20) {
		t.Errorf("%d rows take %.0f MiB, %d take %.0f", few, before, many, after)
	}
	table.exec("DELETE FROM policies")
	compare(cli.ExitFound, 0)
}
