package relay

import (
	"errors"
	"strings"
	"testing"

	"github.com/hms-utl/extsync/pkg/outbox"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// Where a query says :since, a parameter comes; within quotes, comments and casts it stays.
func TestParseQuery(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		dialect   outbox.Dialect
		text      string
		want      string // "": refused
		marks     int
		complaint string
	}{
		{outbox.Postgres, "SELECT a FROM b WHERE v > :since", "SELECT a FROM b WHERE v > (since)", 1, ""},
		{outbox.Postgres, "SELECT a WHERE v > :since OR w > :since;\n-- end", "SELECT a WHERE v > (since) OR w > (since)\n-- end", 2, ""},
		{outbox.MySQL, "SELECT a WHERE v > :since OR w > :since ; ", "SELECT a WHERE v > (since) OR w > (since)  ", 2, ""},
		{outbox.SQLite, "SELECT a WHERE v>:since", "SELECT a WHERE v>(since)", 1, ""},
		{outbox.Postgres, "SELECT a::text, ':since', \":since\", b::since FROM c WHERE v > :since::bigint", "SELECT a::text, ':since', \":since\", b::since FROM c WHERE v > (since)::bigint", 1, ""},
		{outbox.Postgres, "SELECT 'it''s :since' WHERE v > :since", "SELECT 'it''s :since' WHERE v > (since)", 1, ""},
		{outbox.Postgres, `SELECT '\', :since, '`, `SELECT '\', (since), '`, 0, "a ' has no end"},
		{outbox.Postgres, `SELECT E'\' :since', me'x' WHERE v > :since`, `SELECT E'\' :since', me'x' WHERE v > (since)`, 1, ""},
		{outbox.MySQL, `SELECT '\' :since', "\" :since", ` + "`:since`" + ` WHERE v > :since`, `SELECT '\' :since', "\" :since", ` + "`:since`" + ` WHERE v > (since)`, 1, ""},
		{outbox.SQLite, "SELECT [:since], '\\' WHERE v > :since", "SELECT [:since], '\\' WHERE v > (since)", 1, ""},
		{outbox.Postgres, "SELECT $$:since$$, $a$ $$:since $a$, a$b, c$d$ WHERE v > :since", "SELECT $$:since$$, $a$ $$:since $a$, a$b, c$d$ WHERE v > (since)", 1, ""},
		{outbox.Postgres, "SELECT /* :since /* */ ' */ 1 -- ':since\nWHERE v > :since", "SELECT /* :since /* */ ' */ 1 -- ':since\nWHERE v > (since)", 1, ""},
		{outbox.SQLite, "SELECT /* :since /* */ 1 WHERE v > :since", "SELECT /* :since /* */ 1 WHERE v > (since)", 1, ""},
		{outbox.MySQL, "SELECT 1--:since\n, 2 # :since '\n-- :since\nWHERE v > :since", "SELECT 1--(since)\n, 2 # :since '\n-- :since\nWHERE v > (since)", 2, ""},
		{outbox.Postgres, "SELECT :sincere, :since_, :since1 WHERE v > :since", "SELECT :sincere, :since_, :since1 WHERE v > (since)", 1, ""},
		{outbox.Postgres, "SELECT 1", "", 0, ":since is not in it"},
		{outbox.Postgres, "SELECT ':since'", "", 0, ":since is not in it"},
		{outbox.SQLite, "SELECT :since; DELETE FROM a", "", 0, "more than one statement"},
		{outbox.SQLite, "SELECT :since /* ", "", 0, "a comment does not end"},
		{outbox.SQLite, "SELECT :since FROM [a", "", 0, "a [ has no end"},
		{outbox.Postgres, "SELECT :since, $a$ ", "", 0, "a $a$ has no end"},
		{outbox.SQLite, "SELECT :since" + strings.Repeat(" ", maxQueryLen), "", 0, "bytes are more than"},
	} {
		q, err := ParseQuery(tt.dialect, versioning.Numbered, tt.text)
		if tt.complaint != "" {
			if !errors.Is(err, ErrQuery) || !strings.Contains(err.Error(), tt.complaint) {
				t.Errorf("%s: %.80q: %v, want %q", tt.dialect, tt.text, err, tt.complaint)
			}
			continue
		}
		if want := strings.ReplaceAll(tt.want, "(since)", parameter(tt.dialect, versioning.Numbered)); err != nil || q.text != want || q.marks != tt.marks {
			t.Errorf("%s: %q\nis   %q, %d times, %v\nwant %q, %d times", tt.dialect, tt.text, q.text, q.marks, err, want, tt.marks)
		}
	}
}

// Whatever a query is, what is read of it is what was given, but for parameters and one
// semicolon; and what was read is read again as one statement.
func FuzzParseQuery(f *testing.F) {
	for _, seed := range []string{
		"SELECT a FROM b WHERE v > :since;", `E'\'' || $a$ :since $a$ -- :since`, "[`\"' /* /* :since::text */", "# :since\n?::since", "#||$:since 0",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, d := range outbox.Dialects() {
			q, err := ParseQuery(d, versioning.Timed, text)
			if err != nil {
				if !errors.Is(err, ErrQuery) {
					t.Fatalf("%s: %v", d, err)
				}
				continue
			}
			mark := parameter(d, versioning.Timed)
			lost := len(text) - len(q.text) - q.marks*(len(since)-len(mark))
			if q.marks < 1 || lost < 0 || lost > 1 || strings.Count(text, since) < q.marks {
				t.Fatalf("%s: %q is %q: %d marks, %d bytes lost", d, text, q.text, q.marks, lost)
			}
			again, err := ParseQuery(d, versioning.Timed, q.text+"\nAND v > :since")
			if err != nil || again.text != q.text+"\nAND v > "+mark {
				t.Fatalf("%s: %q is read as %q, %v", d, q.text, again.text, err)
			}
		}
	})
}
