package outbox_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"log"

	"github.com/jackc/pgx/v5"

	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/outbox"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// One transaction changes a policy and puts the update. What is rolled back is never
// published, and its version comes again.
func Example() {
	ctx := context.Background()
	db, err := sql.Open("sqlite", newSQLite("CREATE TABLE policies (id TEXT PRIMARY KEY, title TEXT NOT NULL)"))
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = db.Close() }()

	// rename is the platform's own work.
	rename := func(id, title string, check func() error) error {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		defer func() { _ = tx.Rollback() }() // after a commit it does nothing
		if _, err := tx.ExecContext(ctx, "INSERT INTO policies VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET title = excluded.title", id, title); err != nil {
			return err
		}
		box := outbox.SQL(tx, outbox.SQLite)
		version, err := outbox.Next(ctx, box, id)
		if err != nil {
			return err
		}
		payload, err := json.Marshal(map[string]string{"title": title})
		if err != nil {
			return err
		}
		if err := outbox.Put(ctx, box, events.Update{Topic: "policies", Key: id, Version: version, Payload: payload}); err != nil {
			return err
		}
		if err := check(); err != nil {
			return err
		}
		return tx.Commit()
	}
	fmt.Println(rename("p-1", "Booster every year", func() error { return nil }))
	fmt.Println(rename("p-1", "Booster every day", func() error { return errors.New("the agency says no") }))
	fmt.Println(rename("p-1", "Booster every 6 months", func() error { return nil }))
	show(db)
	// Output:
	// <nil>
	// the agency says no
	// <nil>
	// topics/policies p-1 1 {"title":"Booster every year"}
	// topics/policies p-1 2 {"title":"Booster every 6 months"}
}

// A transaction of pgx, on a platform that has versions of its own: it takes the next one
// under the lock of the entity's row, which it holds until it commits.
func ExamplePgx() {
	ctx := context.Background()
	dsn, stop := newPostgres("CREATE TABLE policies (id text PRIMARY KEY, title text NOT NULL, revision bigint NOT NULL)",
		"INSERT INTO policies VALUES ('p-1', 'Booster every year', 6)")
	defer stop()
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = conn.Close(ctx) }()

	err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		var revision int64
		var payload []byte
		if err := tx.QueryRow(ctx, `UPDATE policies SET title = $1, revision = revision + 1 WHERE id = $2
			RETURNING revision, json_build_object('title', title)`, "Booster every 6 months", "p-1").Scan(&revision, &payload); err != nil {
			return err
		}
		version, err := versioning.Number(revision)
		if err != nil {
			return err
		}
		return outbox.Put(ctx, outbox.Pgx(tx), events.Update{Channel: "erp_db", Key: "p-1", Version: version, Payload: payload})
	})
	fmt.Println(err)
	db, err := sql.Open("pgx", dsn)
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	show(db)
	// Output:
	// <nil>
	// erp_db p-1 7 {"title" : "Booster every 6 months"}
}
