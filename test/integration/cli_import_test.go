package integration

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/hms-utl/extsync/internal/cli"
	"github.com/hms-utl/extsync/internal/testkit"
)

// An import that is killed goes on where it was, and neither loses a line nor
// publishes one twice.
func TestImportGoesOnAfterAKill(t *testing.T) {
	s := newSite(t)
	s.apply("http://127.0.0.1:1/x")
	const keys, bad = 60_000, 3
	var text strings.Builder
	for i := range keys {
		if i%(keys/bad) == 100 { // one of them before the kill
			text.WriteString("no update\n")
		}
		fmt.Fprintf(&text, `{"key":"k%d","version":1,"payload":%d}`+"\n", i, i)
	}
	input := s.file("in.ndjson", text.String())
	state := func() (st struct{ Offset, Line int64 }) {
		data, err := os.ReadFile(input + ".erp_db.state")
		if err == nil && json.Unmarshal(data, &st) != nil {
			t.Errorf("half a state: %q", data)
		}
		return st
	}
	killed := s.extsync("import", "erp_db", input, "--in-flight", "2").start(t)
	testkit.Eventually(t, "a part is done", func() bool { return state().Line > 1000 })
	killed.signal(t, os.Kill)
	killed.wait(t)
	at := state()
	if at.Line == 0 || at.Line >= keys {
		t.Fatalf("it was killed at line %d of %d", at.Line, keys+bad)
	}

	e := s.extsync("import", "erp_db", input, "--json").run(t)
	var doc importDoc
	decodeJSON(t, e.out, &doc)
	if e.code != cli.ExitFound || doc.From != at.Offset || doc.Line != keys+bad {
		t.Errorf("code %d, %+v; it was killed at %+v", e.code, doc, at)
	}
	// The last lines before the kill may have been stored and not noted.
	if again := doc.Stored + doc.Duplicates + doc.Rejected; again != keys+bad-at.Line || doc.Stale != 0 {
		t.Errorf("%d lines were left, not %d: %+v", again, keys+bad-at.Line, doc)
	}
	stream, err := s.broker.JS.Stream(t.Context(), "SYNC_UPD_erp_db")
	if err != nil {
		t.Fatal(err)
	}
	if st := stream.CachedInfo().State; st.Msgs != keys || st.LastSeq != keys {
		t.Errorf("%d keys, %d messages were stored", st.Msgs, st.LastSeq)
	}
	rejects, err := os.ReadFile(input + ".erp_db.rejects")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[int64]bool{}
	for line := range strings.Lines(string(rejects)) {
		var r struct{ Line int64 }
		decodeJSON(t, line, &r)
		seen[r.Line] = true
	}
	if len(seen) != bad {
		t.Errorf("rejects:\n%s", rejects)
	}
	t.Logf("killed at line %d; %d of the lines after it were stored before", at.Line, doc.Duplicates)
}
