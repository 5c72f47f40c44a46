package outbox_test

import (
	"context"
	"database/sql"
	"path/filepath"
	"strings"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib"
	_ "modernc.org/sqlite"

	"github.com/hms-utl/extsync/internal/testdb"
	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/outbox"
)

// A lab is a platform's database with an outbox.
type lab struct {
	t       *testing.T
	dialect outbox.Dialect
	db      *sql.DB
}

// inEachDialect runs a test on each kind of database.
func inEachDialect(t *testing.T, test func(*testing.T, *lab)) {
	t.Helper()
	for _, d := range outbox.Dialects() {
		t.Run(string(d), func(t *testing.T) {
			t.Parallel()
			test(t, newLab(t, d))
		})
	}
}

func newLab(t *testing.T, d outbox.Dialect) *lab {
	t.Helper()
	l := &lab{t: t, dialect: d}
	switch d {
	case outbox.Postgres:
		l.db = open(t, "pgx", testdb.Postgres(t))
	case outbox.MySQL:
		l.db = open(t, "mysql", testdb.MariaDB(t)+"?multiStatements=true&interpolateParams=true")
	case outbox.SQLite:
		l.db = open(t, "sqlite", "file:"+filepath.Join(t.TempDir(), "platform.db")+"?_txlock=immediate&_pragma=busy_timeout(60000)")
	}
	ddl, err := outbox.DDL(d)
	testkit.Must(t, err)
	_, err = l.db.ExecContext(t.Context(), ddl)
	testkit.Must(t, err)
	return l
}

func open(t *testing.T, driver, dsn string) *sql.DB {
	t.Helper()
	db, err := sql.Open(driver, dsn)
	testkit.Must(t, err)
	t.Cleanup(func() { testkit.Must(t, db.Close()) })
	return db
}

// begin begins a transaction, which is rolled back at the end of the test unless it ended.
func (l *lab) begin() (*sql.Tx, outbox.Tx) {
	l.t.Helper()
	tx, err := l.db.BeginTx(context.WithoutCancel(l.t.Context()), nil)
	testkit.Must(l.t, err)
	l.t.Cleanup(func() { _ = tx.Rollback() })
	return tx, outbox.SQL(tx, l.dialect)
}

// commit commits what do does.
func (l *lab) commit(do func(outbox.Tx)) {
	l.t.Helper()
	tx, out := l.begin()
	do(out)
	testkit.Must(l.t, tx.Commit())
}

// key is the name of the column.
func (l *lab) key() string {
	if l.dialect == outbox.MySQL {
		return "`key`"
	}
	return "key"
}

// versions returns the versions of a key's rows, in the order of their ids.
func (l *lab) versions(key string) string {
	l.t.Helper()
	rows, err := l.db.QueryContext(l.t.Context(), "SELECT version FROM extsync_outbox WHERE "+l.key()+" = '"+key+"' ORDER BY id")
	testkit.Must(l.t, err)
	defer func() { testkit.Must(l.t, rows.Close()) }()
	var out []string
	for rows.Next() {
		var version string
		testkit.Must(l.t, rows.Scan(&version))
		out = append(out, version)
	}
	testkit.Must(l.t, rows.Err())
	return strings.Join(out, " ")
}

// count returns what a query counts.
func (l *lab) count(query string) (n int) {
	l.t.Helper()
	testkit.Must(l.t, l.db.QueryRowContext(l.t.Context(), query).Scan(&n))
	return n
}

// waits reports whether a transaction waits for another one's lock. SQLite does not tell.
func (l *lab) waits() bool {
	l.t.Helper()
	switch l.dialect {
	case outbox.Postgres:
		return l.count("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'") > 0
	case outbox.MySQL:
		// What InnoDB tells of waits is as old as the last look if looks are less than 100 ms apart.
		return l.count("SELECT count(*) FROM information_schema.processlist WHERE db = database() AND info LIKE 'INSERT INTO extsync_outbox_keys%'") > 0
	}
	return true
}

// of returns an update whose content is its version.
func of(key string, version int64) events.Update {
	return events.Update{Channel: "erp", Key: key, Version: testkit.Number(version), Payload: []byte(`{"v": 1}`)}
}
