package faults

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // registers "pgx"
	_ "modernc.org/sqlite"             // registers "sqlite"

	"github.com/hms-utl/extsync/internal/testdb"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// SQLTable is the table that a SQLTarget's channel writes to, in the mode
// document.
const SQLTable = "copies"

// A SQLTarget is a real database that keeps every write it applied: a trigger
// copies each row that is written into a table that only grows, in the same
// transaction, under the same row lock.
type SQLTarget struct {
	dialect, dsn string
	db           *sql.DB
}

const sqliteSchema = `
CREATE TABLE copies (
	key text PRIMARY KEY, version integer NOT NULL, version_nanos integer NOT NULL,
	digest text NOT NULL, op text NOT NULL, content text, updated_at text NOT NULL);
CREATE TABLE audit (
	n integer PRIMARY KEY AUTOINCREMENT, key text NOT NULL, version integer NOT NULL, version_nanos integer NOT NULL,
	digest text NOT NULL, op text NOT NULL, at real NOT NULL DEFAULT (unixepoch('subsec')));
CREATE TRIGGER audit_insert AFTER INSERT ON copies BEGIN
	INSERT INTO audit (key, version, version_nanos, digest, op)
	VALUES (NEW.key, NEW.version, NEW.version_nanos, NEW.digest, NEW.op);
END;
CREATE TRIGGER audit_update AFTER UPDATE ON copies BEGIN
	INSERT INTO audit (key, version, version_nanos, digest, op)
	VALUES (NEW.key, NEW.version, NEW.version_nanos, NEW.digest, NEW.op);
END;`

const postgresSchema = `
CREATE TABLE copies (
	key text COLLATE "C" PRIMARY KEY, version bigint NOT NULL, version_nanos integer NOT NULL,
	digest text NOT NULL, op text NOT NULL, content jsonb, updated_at timestamptz NOT NULL);
CREATE TABLE audit (
	n bigserial PRIMARY KEY, key text NOT NULL, version bigint NOT NULL, version_nanos integer NOT NULL,
	digest text NOT NULL, op text NOT NULL, at double precision NOT NULL DEFAULT extract(epoch FROM clock_timestamp()));
CREATE FUNCTION audit_write() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
	INSERT INTO audit (key, version, version_nanos, digest, op)
	VALUES (NEW.key, NEW.version, NEW.version_nanos, NEW.digest, NEW.op);
	RETURN NULL;
END $$;
CREATE TRIGGER audit AFTER INSERT OR UPDATE ON copies FOR EACH ROW EXECUTE FUNCTION audit_write();`

// NewSQLiteTarget makes a database file that ends with the test.
func NewSQLiteTarget(t testing.TB) *SQLTarget {
	t.Helper()
	path := filepath.Join(t.TempDir(), "target.db")
	return newSQLTarget(t, "sqlite", path, "sqlite", "file:"+path+"?_pragma=busy_timeout(10000)&_pragma=journal_mode(wal)", sqliteSchema)
}

// NewPostgresTarget makes a database on the test process's own PostgreSQL server.
func NewPostgresTarget(t testing.TB) *SQLTarget {
	t.Helper()
	dsn := testdb.Postgres(t)
	return newSQLTarget(t, "postgres", dsn, "pgx", dsn, postgresSchema)
}

func newSQLTarget(t testing.TB, dialect, dsn, driver, own, schema string) *SQLTarget {
	t.Helper()
	db, err := sql.Open(driver, own)
	if err != nil {
		t.Fatalf("%s target: %v", dialect, err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Errorf("%s target: %v", dialect, err)
		}
	})
	if _, err := db.ExecContext(t.Context(), schema); err != nil {
		t.Fatalf("%s target: %v", dialect, err)
	}
	return &SQLTarget{dialect: dialect, dsn: dsn, db: db}
}

// Connector returns the configuration of a channel's sql connector to this
// target.
func (tg *SQLTarget) Connector() map[string]any {
	config := map[string]any{"dialect": tg.dialect, "dsn": tg.dsn, "table": SQLTable}
	if tg.dialect != "sqlite" {
		config["allow_cidrs"] = []string{"127.0.0.0/8"}
	}
	return config
}

// History reads what the database has applied. It has no calls: a database sees
// none.
func (tg *SQLTarget) History(ctx context.Context) (History, error) {
	h := History{Held: map[string]versioning.Tag{}}
	err := tg.read(ctx, "SELECT key, version, version_nanos, digest, op, at FROM audit ORDER BY n", func(w Write) {
		h.Writes = append(h.Writes, w)
	})
	if err != nil {
		return History{}, err
	}
	err = tg.read(ctx, "SELECT key, version, version_nanos, digest, op, 0.0 FROM "+SQLTable, func(w Write) {
		h.Held[w.Key] = w.Tag
	})
	return h, err
}

func (tg *SQLTarget) read(ctx context.Context, query string, each func(Write)) (err error) {
	rows, err := tg.db.QueryContext(ctx, query)
	if err != nil {
		return fmt.Errorf("%s target: %w", tg.dialect, err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	var first float64
	for rows.Next() {
		var (
			w              Write
			version, nanos int64
			digest, op     string
			at             float64
		)
		if err := rows.Scan(&w.Key, &version, &nanos, &digest, &op, &at); err != nil {
			return fmt.Errorf("%s target: %w", tg.dialect, err)
		}
		if first == 0 {
			first = at
		}
		w.Op, w.At = events.Op(op), time.Duration((at-first)*float64(time.Second))
		if w.Version, err = versionOf(version, nanos); err != nil {
			return fmt.Errorf("%s target: key %s: %w", tg.dialect, w.Key, err)
		}
		if err := w.Digest.UnmarshalText([]byte(digest)); err != nil {
			return fmt.Errorf("%s target: key %s: %w", tg.dialect, w.Key, err)
		}
		each(w)
	}
	return rows.Err()
}

// versionOf reads the two columns of a version: a number and -1, or the seconds
// and nanoseconds of a time.
func versionOf(version, nanos int64) (versioning.Version, error) {
	if nanos < 0 {
		return versioning.Number(version)
	}
	return versioning.Time(time.Unix(version, nanos))
}
