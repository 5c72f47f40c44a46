package outbox_test

import (
	"context"
	"database/sql"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"testing"

	"github.com/hms-utl/extsync/internal/testdb"
	"github.com/hms-utl/extsync/pkg/outbox"
)

// exampleDir is removed at the end.
var exampleDir string //nolint:gochecknoglobals // an example is given nothing

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	var err error
	if exampleDir, err = os.MkdirTemp("", "extsync-outbox-"); err != nil {
		log.Print(err)
		return 1
	}
	defer func() { _ = os.RemoveAll(exampleDir) }() // the system's folder for what may go
	return m.Run()
}

// newSQLite makes a database with an outbox for an example, and returns the data source name.
func newSQLite(statements ...string) string {
	dsn := "file:" + filepath.Join(exampleDir, "platform.db") + "?_txlock=immediate"
	fill("sqlite", dsn, outbox.SQLite, statements)
	return dsn
}

// newPostgres does so on a server that stop ends.
func newPostgres(statements ...string) (dsn string, stop func()) {
	server, err := testdb.LaunchPostgres()
	if err != nil {
		log.Fatal(err)
	}
	if dsn, err = server.NewDatabase(context.Background()); err != nil {
		log.Fatal(err)
	}
	fill("pgx", dsn, outbox.Postgres, statements)
	return dsn, func() { _ = server.Close() }
}

func fill(driver, dsn string, d outbox.Dialect, statements []string) {
	db, err := sql.Open(driver, dsn)
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	ddl, err := outbox.DDL(d)
	if err != nil {
		log.Fatal(err)
	}
	for _, statement := range append(statements, ddl) {
		if _, err := db.ExecContext(context.Background(), statement); err != nil {
			log.Fatal(err)
		}
	}
}

// show prints the rows of the outbox.
func show(db *sql.DB) {
	rows, err := db.QueryContext(context.Background(), "SELECT target, key, version, payload FROM extsync_outbox ORDER BY id")
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var target, key, version string
		var payload []byte
		if err := rows.Scan(&target, &key, &version, &payload); err != nil {
			log.Fatal(err)
		}
		fmt.Println(target, key, version, string(payload))
	}
	if err := rows.Err(); err != nil {
		log.Fatal(err)
	}
}
