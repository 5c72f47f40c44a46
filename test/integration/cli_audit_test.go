package integration

import (
	"bufio"
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hms-utl/extsync/internal/cli"
	"github.com/hms-utl/extsync/internal/testkit"
)

// peak runs a program to its end and returns how much memory it had at most, in
// MiB; 0 where the system does not tell. The kernel's account of an ended child
// is of no use: it begins with the memory of the process that started it.
func (p program) peak(t testing.TB) (ended, float64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*testkit.Patience)
	defer cancel()
	cmd := p.command(ctx, t)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = cmd.Wait() // the exit code tells
	}()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	most := 0.0
	for {
		select {
		case <-done:
			return ended{code: cmd.ProcessState.ExitCode(), out: out.String(), err: errOut.String()}, most
		case <-tick.C:
			most = max(most, highWater(cmd.Process.Pid))
		}
	}
}

// highWater returns the most memory that a process has had so far.
func highWater(pid int) float64 {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(data)) {
		var kib float64
		if _, err := fmt.Sscanf(line, "VmHWM: %f kB", &kib); err == nil {
			return kib / 1024
		}
	}
	return 0
}

// fill imports keys from..upto and waits until they are delivered.
func (s *site) fill(from, upto int) {
	s.t.Helper()
	path := filepath.Join(s.dir, fmt.Sprintf("keys%d.ndjson", from))
	file, err := os.Create(path)
	if err != nil {
		s.t.Fatal(err)
	}
	out := bufio.NewWriter(file)
	for i := from; i < upto; i++ {
		_, _ = fmt.Fprintf(out, `{"key":"entity-%06d","version":1,"payload":{"n":%d}}`+"\n", i, i) // Flush returns the error
	}
	if err := out.Flush(); err != nil {
		s.t.Fatal(err)
	}
	_ = file.Close() // was flushed
	if e, _ := s.extsync("import", "erp_db", path).peak(s.t); e.code != cli.ExitOK {
		s.t.Fatalf("import: %+v", e)
	}
	s.eventuallyFor(10*testkit.Patience, "everything is delivered", func() bool {
		var doc statusDoc
		s.extsync("status", "erp_db", "--json", "--interval", "200ms").decode(s.t, &doc)
		return doc.Channels[0].Undelivered == 0
	})
}

// eventuallyFor is eventually for what takes longer at full size.
func (s *site) eventuallyFor(most time.Duration, what string, holds func() bool) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), most)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-ctx.Done():
			s.t.Fatalf("not in %s: %s", most, what)
		case <-tick.C:
		}
	}
}

// An audit goes through a target of any size, lists and repairs every key that
// differs, and needs no more memory for more keys.
func TestAuditOfManyKeys(t *testing.T) {
	t.Parallel()
	few := sized(t, "keys first", 1_200, 10_000) // more than a page, and than one resync repairs
	many := sized(t, "keys then", 3_600, 100_000)
	s := newSite(t)
	s.apply("http://127.0.0.1:1/x")
	s.worker()
	audit := func(code int, args ...string) (doc auditDoc, peak float64) {
		t.Helper()
		began := time.Now()
		e, peak := s.extsync(append([]string{"audit", "erp_db", "--json"}, args...)...).peak(t)
		if e.code != code {
			t.Fatalf("audit %q: code %d\n%.2000s%s", args, e.code, e.out, e.err)
		}
		decodeJSON(t, e.out, &doc)
		t.Logf("audit %q: %d keys, %d findings, %d repaired: peak %.0f MiB, %s", args, doc.Summary.Looked, len(doc.Findings), doc.Repaired, peak, time.Since(began).Round(time.Millisecond))
		return doc, peak
	}
	db, err := sql.Open("sqlite", filepath.Join(s.dir, "erp.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()

	s.fill(0, few)
	equalFew, peaks := 0.0, map[string][2]float64{}
	_, equalFew = audit(cli.ExitOK)
	lost := func(keys int) (p float64) {
		t.Helper()
		if _, err := db.ExecContext(t.Context(), "PRAGMA busy_timeout = 10000; DELETE FROM extsync_erp_db WHERE key > 'entity-000004'"); err != nil {
			t.Fatal(err)
		}
		doc, p := audit(cli.ExitFound)
		if int(doc.Summary.Missing) != keys-5 || len(doc.Findings) != keys-5 || int(doc.Summary.Looked) != keys {
			t.Errorf("%d keys are lost: %+v, %d findings", keys-5, doc.Summary, len(doc.Findings))
		}
		seen := map[string]bool{}
		for _, f := range doc.Findings {
			seen[f.Key] = f.Difference == "missing"
		}
		if len(seen) != keys-5 || !seen["entity-000005"] || !seen[fmt.Sprintf("entity-%06d", keys-1)] {
			t.Errorf("%d different keys are listed", len(seen))
		}
		return p
	}
	foundFew := lost(few)
	if e := s.extsync("audit", "erp_db", "--repair", "--json").run(t); e.code != cli.ExitUsage || !strings.Contains(e.err, fmt.Sprintf("%d keys", few-5)) {
		t.Errorf("repair without --yes: code %d, %s", e.code, e.err)
	}
	doc, repairFew := audit(cli.ExitOK, "--repair", "--yes")
	if int(doc.Repaired) != few-5 {
		t.Errorf("repaired %d", doc.Repaired)
	}

	s.fill(few, many)
	_, equalMany := audit(cli.ExitOK)
	foundMany := lost(many)
	doc, repairMany := audit(cli.ExitOK, "--repair", "--yes")
	if int(doc.Repaired) != many-5 {
		t.Errorf("repaired %d of %d", doc.Repaired, many-5)
	}
	if doc, _ := audit(cli.ExitOK); doc.Summary.Missing != 0 || int(doc.Summary.Looked) != many {
		t.Errorf("after the repair: %+v", doc.Summary)
	}
	peaks["equal"], peaks["all missing"], peaks["repair"] = [2]float64{equalFew, equalMany}, [2]float64{foundFew, foundMany}, [2]float64{repairFew, repairMany}
	for what, p := range peaks {
		if t.Logf("%s: %.0f MiB for %d keys, %.0f MiB for %d", what, p[0], few, p[1], many); p[1] > 1.5*p[0] {
			t.Errorf("%s: %d keys took %.0f MiB, %d took %.0f MiB", what, few, p[0], many, p[1])
		}
	}
	var acts struct {
		Acts []struct{ Action, Target, Result string }
	}
	s.extsync("audit-log", "--json").decode(t, &acts)
	repairs := 0
	for _, a := range acts.Acts {
		if a.Action == "audit.repair" && a.Target == "channel erp_db" && a.Result == "done" {
			repairs++
		}
	}
	if repairs != 2 {
		t.Errorf("%d repairs are in the audit log: %+v", repairs, acts)
	}
}
