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
	t.Parallel()
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
	if e.code != cli.ExitRejected || doc.From != at.Offset || doc.Line != keys+bad {
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

// Lines that were rejected are corrected in the input, and the import is run again: it
// went on behind what it had done, and the corrected line was never published.
func TestImportOfACorrectedInput(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.apply("http://127.0.0.1:1/x")
	var text strings.Builder
	for i := range 200 { // more than 4 KiB before the bad line
		fmt.Fprintf(&text, `{"key":"k%d","version":1,"payload":{"content":"some text"}}`+"\n", i)
	}
	bad := `{"key":"fixed","version":0,"payload":1}` + "\n"
	last := `{"key":"last","version":1,"payload":1}` + "\n"
	input := s.file("in.ndjson", text.String()+bad+last)
	run := func(code int, stored int64, says string) {
		t.Helper()
		e := s.extsync("import", "erp_db", input, "--json").run(t)
		var doc importDoc
		decodeJSON(t, e.out, &doc)
		if e.code != code || doc.Stored != stored || !strings.Contains(e.err, says) {
			t.Errorf("code %d, %+v, said %q; want code %d, %d stored, and %q", e.code, doc, e.err, code, stored, says)
		}
	}
	run(cli.ExitRejected, 201, "")
	run(cli.ExitRejected, 0, "1 of them were rejected then")
	s.file("in.ndjson", text.String()+strings.Replace(bad, `"version":0`, `"version":100`, 1)+last)
	run(0, 1, "begins anew: it was changed")
	s.file("in.ndjson", text.String()+strings.Replace(bad, `"version":0`, `"version":100`, 1)+last+strings.Replace(last, "last", "more", 1))
	run(0, 1, "goes on behind line 202")
}

// What 'channels show' says of all channels is a file that apply takes: what the backup
// chapter told to keep was none.
func TestShownChannelsCanBeApplied(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.apply("http://127.0.0.1:1/x")
	saved := s.file("saved.yaml", s.extsync("channels", "show").ok(t))
	if e := s.extsync("channels", "plan", "-f", saved).run(t); e.code != 0 || strings.Count(e.out, ": unchanged") != 2 {
		t.Errorf("code %d, want no change of the two channels:\n%s%s", e.code, e.out, e.err)
	}
	refused(t, s.extsync("channels", "clone", "erp_db", "erp_db"), cli.ExitRefused, "there is a channel of that name: erp_db")
	refused(t, s.extsync("dead", "list", "--channel", "erp_dbb"), cli.ExitUnknown, "channel not found")
	wrong := s.file("wrong.yaml", "channels:\n- name: a\n  timeout: 3\n  max_bytes: 1PB\n  channel: b\n  connector: {kind: http, config: {url: 'https://a.example/x'}}\n")
	e := s.extsync("channels", "apply", "-f", wrong).run(t)
	for _, want := range []string{
		`wrong.yaml:3: channels[0].timeout: "3" is not a duration`, `wrong.yaml:4: channels[0].max_bytes: "1PB" is not a size`,
		"wrong.yaml:5: channels[0].channel: there is no such field",
	} {
		if !strings.Contains(e.err, want) || strings.Contains(e.err, "struct") {
			t.Errorf("code %d, it does not say %q in the words of configurations: %s", e.code, want, e.err)
		}
	}
}

// A CSV file goes on after a kill as well: its header counts then, too, and a record over
// several lines is whole or not done.
func TestImportOfCSVGoesOnAfterAKill(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.apply("http://127.0.0.1:1/x")
	const keys = 20_000
	text := []byte("title,id,rev\n")
	for i := range keys {
		text = fmt.Appendf(text, "\"title\nof %d\",k%d,1\n", i, i)
	}
	input := s.file("in.csv", string(text))
	args := []string{"import", "erp_db", input, "--csv-key", "id", "--csv-version", "rev"}
	killed := s.extsync(append(args, "--in-flight", "2")...).start(t)
	testkit.Eventually(t, "a part is done", func() bool {
		data, err := os.ReadFile(input + ".erp_db.state")
		return err == nil && !strings.Contains(string(data), `"line":0`)
	})
	killed.signal(t, os.Kill)
	killed.wait(t)
	var doc importDoc
	s.extsync(append(args, "--json")...).decode(t, &doc)
	if doc.From == 0 || doc.Line != 2*keys+1 || doc.Rejected != 0 {
		t.Errorf("%+v", doc)
	}
	var got struct {
		Channels []struct{ Newest struct{ Version string } }
	}
	for _, key := range []string{"k0", fmt.Sprint("k", keys-1)} {
		s.extsync("get", key, "--channel", "erp_db", "--json").decode(t, &got)
		if len(got.Channels) != 1 || got.Channels[0].Newest.Version != "1" {
			t.Errorf("%s: %+v", key, got)
		}
	}
	refused(t, s.extsync("import", "erp_db", s.file("no.csv", "a,b\n1,2\n")), cli.ExitUsage, `no column "key"; there are a, b`, "--csv-key")
}
