package operate_test

import (
	"database/sql"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"github.com/hms-utl/extsync/internal/config"
	"github.com/hms-utl/extsync/internal/natsserver/natstest"
	"github.com/hms-utl/extsync/internal/operate"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// Where the stream has a newer update than was delivered, an audit cannot compare content. It
// reads such keys among the others, and tells of each of both what it should.
func TestAuditReadsWhatItCannotCompare(t *testing.T) {
	dir := t.TempDir()
	cfg := config.Default()
	cfg.Allow.Databases = connectors.List{dir}
	client, err := operate.Connect(t.Context(), cfg, zerolog.Nop(), natstest.Run(t).InProcess())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	s := auditSite{Client: client, name: "mixed", path: filepath.Join(dir, "mixed.db"), keys: 620}
	s.fill(t)
	publisher, err := s.Publisher(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	newer := func(i int) bool { return i%3 == 0 || i >= 600 } // the last ones are a part of their own
	for i := range s.keys {
		if newer(i) {
			u := events.Update{Channel: s.name, Key: s.key(i), Version: versioning.Must(versioning.Number(2)), Payload: []byte(`{}`)}
			if _, err := publisher.Publish(t.Context(), u); err != nil {
				t.Fatal(err)
			}
		}
	}
	db, err := sql.Open("sqlite", "file:"+s.path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }() // each statement was checked
	var want []string
	for _, i := range []int{0, 1, 98, 99, 100, 101, 300, 301, 499, 500, 501, 599, 600, 619} {
		statement, difference := "DELETE FROM copies WHERE key = ?", "missing"
		switch {
		case i%2 == 1 && newer(i):
			statement, difference = "UPDATE copies SET digest = '"+strings.Repeat("0", 63)+"1' WHERE key = ?", "different"
		case i%2 == 1:
			statement, difference = "UPDATE copies SET content = '{}' WHERE key = ?", "different"
		}
		if _, err := db.ExecContext(t.Context(), statement, s.key(i)); err != nil {
			t.Fatal(err)
		}
		want = append(want, s.key(i)+" "+difference)
	}
	var got []string
	sum, err := client.Audit(t.Context(), s.name, func(f operate.Finding) error {
		got = append(got, fmt.Sprint(f.Key, " ", f.Difference))
		return nil
	}, func(operate.AuditSummary) {})
	slices.Sort(got)
	if err != nil || !slices.Equal(got, want) || sum.Looked != int64(s.keys) {
		t.Errorf("found\n%s\nwant\n%s\n%+v, %v", strings.Join(got, "\n"), strings.Join(want, "\n"), sum, err)
	}
}
