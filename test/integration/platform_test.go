package integration

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"time"

	"github.com/hms-utl/extsync/internal/sleep"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/outbox"
)

// platformVariable makes this test program a platform that writes to a database of this DSN
// until it is killed.
const platformVariable = "EXTSYNC_TEST_PLATFORM"

const (
	platformWriters = 32
	platformKeys    = 100
	// platformDDL makes the platform's own tables: what it has, and every version that it
	// has committed, with a number that no other transaction writes.
	platformDDL = `CREATE TABLE policies (key text PRIMARY KEY, version bigint NOT NULL, nonce bigint NOT NULL);
CREATE TABLE committed (key text NOT NULL, version bigint NOT NULL, nonce bigint NOT NULL)`
)

// runPlatform is a platform: each of its writers changes a policy in a transaction, which
// also puts the update of it for two channels. Every tenth is rolled back. Where the database
// is away, writers try again, as the requests of users would.
func runPlatform(dsn string) int {
	db, err := sql.Open("pgx", dsn)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	db.SetMaxOpenConns(platformWriters)
	var writers sync.WaitGroup
	for range platformWriters {
		writers.Go(func() {
			for sleep.For(context.Background(), time.Duration(rand.IntN(100))*time.Millisecond) {
				if err := writePolicy(context.Background(), db); err != nil {
					fmt.Fprintln(os.Stderr, err)
					// A server that starts answers nobody while hundreds ask again and again.
					sleep.For(context.Background(), time.Duration(300+rand.IntN(700))*time.Millisecond)
				}
			}
		})
	}
	writers.Wait()
	return 0
}

func writePolicy(ctx context.Context, db *sql.DB) (err error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlessEnded(tx.Rollback())) }()
	key, nonce := fmt.Sprintf("p-%d", rand.IntN(platformKeys)), rand.Int64()
	version, err := outbox.Next(ctx, outbox.SQL(tx, outbox.Postgres), key)
	if err != nil {
		return err
	}
	n, _ := version.Int64()
	for _, statement := range []string{
		"INSERT INTO policies VALUES ($1, $2, $3) ON CONFLICT (key) DO UPDATE SET version = excluded.version, nonce = excluded.nonce",
		"INSERT INTO committed VALUES ($1, $2, $3)",
	} {
		if _, err := tx.ExecContext(ctx, statement, key, n, nonce); err != nil {
			return err
		}
	}
	for _, channel := range []string{"every", "latest"} {
		u := events.Update{Channel: channel, Key: key, Version: version, Payload: fmt.Appendf(nil, `{"nonce": %d}`, nonce)}
		if err := outbox.Put(ctx, outbox.SQL(tx, outbox.Postgres), u); err != nil {
			return err
		}
	}
	if rand.IntN(10) == 0 {
		return nil // it is rolled back
	}
	return tx.Commit()
}

// unlessEnded is what a rollback says, but that the transaction had ended.
func unlessEnded(err error) error {
	if errors.Is(err, sql.ErrTxDone) {
		return nil
	}
	return err
}
