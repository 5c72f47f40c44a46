package demo

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/hms-utl/extsync/internal/local"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/outbox"
)

// outboxKey is the policy that the platform of the last step changes.
const outboxKey = "p-2024-flu"

// ownTransaction changes a policy in a platform's database twice: what is rolled back is
// never published.
func (d *demo) ownTransaction(ctx context.Context) (err error) {
	d.begin("From the platform's own transaction",
		"A platform that writes its database and then publishes does two things, and a\ncrash between them loses one. So it puts the update into its database, too: it is\npublished exactly when the transaction commits.")
	file := filepath.Join(filepath.Dir(d.erpFile), "platform.db")
	platform, err := local.OpenPlatform(ctx, file)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, platform.Close()) }()
	relay, err := d.stack.RelayOutbox(ctx, file)
	if err != nil {
		return err
	}
	stop := relay.Stop
	defer func() { err = errors.Join(err, stop()) }()

	d.did("begin; change %s; put the update; roll back", outboxKey)
	if _, err := put(ctx, platform, "Every month", (*sql.Tx).Rollback); err != nil {
		return err
	}
	d.did("begin; change %s; put the update; commit", outboxKey)
	u, err := put(ctx, platform, "Every autumn", (*sql.Tx).Commit)
	if err != nil {
		return err
	}
	ack, err := d.outcome(ctx, u)
	if err != nil {
		return err
	}
	held, _ := d.receiver.Item(outboxKey)
	if err := d.expect(ack.Outcome == events.Delivered && held.Version == u.Version && held.Content == string(u.Payload), "the calendar has what was committed, version %s", u.Version); err != nil {
		return err
	}
	calls := 0
	for _, c := range d.receiver.Calls() {
		if c.Key == outboxKey {
			calls++
		}
	}
	if err := d.expect(calls == 1, "nobody was told of what was rolled back"); err != nil {
		return err
	}
	err = stop() // and with it what the relay has under way
	stop = func() error { return nil }
	if err != nil {
		return err
	}
	var rows int
	if err := platform.QueryRowContext(ctx, "SELECT count(*) FROM extsync_outbox").Scan(&rows); err != nil {
		return fmt.Errorf("read the outbox: %w", err)
	}
	return d.expect(rows == 0, "the outbox is empty again")
}

// put changes the policy, and puts the update, in one transaction that end ends.
func put(ctx context.Context, db *sql.DB, content string, end func(*sql.Tx) error) (events.Update, error) {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return events.Update{}, fmt.Errorf("begin: %w", err)
	}
	defer func() { _ = tx.Rollback() }() // after its end it does nothing
	if _, err := tx.ExecContext(ctx, "CREATE TABLE IF NOT EXISTS policies (id TEXT PRIMARY KEY, content TEXT)"); err != nil {
		return events.Update{}, fmt.Errorf("make the platform's table: %w", err)
	}
	if _, err := tx.ExecContext(ctx, "INSERT INTO policies VALUES (?, ?)", outboxKey, content); err != nil {
		return events.Update{}, fmt.Errorf("change the policy: %w", err)
	}
	box := outbox.SQL(tx, outbox.SQLite)
	version, err := outbox.Next(ctx, box, outboxKey)
	if err != nil {
		return events.Update{}, err
	}
	u := events.Update{
		Channel: local.CalendarChannel, Key: outboxKey, Version: version,
		Payload: fmt.Appendf(nil, `{"policy_id":%q,"content":%q}`, outboxKey, content),
	}
	if err := outbox.Put(ctx, box, u); err != nil {
		return u, err
	}
	return u, end(tx)
}
