package demo

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	_ "modernc.org/sqlite" // the driver "sqlite", to look into the file past extsync

	"github.com/hms-utl/extsync/internal/local"
	"github.com/hms-utl/extsync/internal/operate"
	"github.com/hms-utl/extsync/pkg/events"
)

// pollInterval is how often a record is read that follows the outcome log.
const pollInterval = 50 * time.Millisecond

// accepted returns the versions that the calendar took, in order.
func (d *demo) accepted() []string {
	var versions []string
	for _, c := range d.receiver.Calls() {
		if c.Status == http.StatusOK {
			versions = append(versions, c.Version.String())
		}
	}
	return versions
}

// await reads where the key is in a channel until good says so: the ledger is
// about a second behind.
func (d *demo) await(ctx context.Context, channel string, good func(operate.Whereabouts) bool) (operate.Whereabouts, error) {
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		found, err := d.stack.Find(ctx, key, channel)
		if err != nil {
			return operate.Whereabouts{}, err
		}
		if good(found[0]) {
			return found[0], nil
		}
		select {
		case <-ctx.Done():
			return operate.Whereabouts{}, fmt.Errorf("%w: channel %s is still %s: %w", ErrExpectation, channel, found[0].State, ctx.Err())
		case <-tick.C:
		}
	}
}

// outcome reads what became of an update, once the ledger knows.
func (d *demo) outcome(ctx context.Context, u events.Update) (events.Ack, error) {
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		ack, err := d.publisher.Outcome(ctx, u.Channel, u.Key, u.Tag())
		if !errors.Is(err, events.ErrNoRecord) {
			return ack, err
		}
		select {
		case <-ctx.Done():
			return ack, fmt.Errorf("%w: version %s has no outcome: %w", ErrExpectation, u.Version, ctx.Err())
		case <-tick.C:
		}
	}
}

// tell writes where the key is in one channel.
func (d *demo) tell(w operate.Whereabouts) {
	d.got("%s holds version %s; version %s is %s", w.Channel, w.Target.Version, w.Newest.Version, w.State)
	if w.Error != nil {
		d.got("after %d attempts: %s", w.Attempts, w.Error.Message)
	}
}

// expectRow reads the row from the ERP's file with another connection than the
// connector's.
func (d *demo) expectRow(ctx context.Context, version int64, content string) (err error) {
	db, err := sql.Open("sqlite", d.erpFile)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	var (
		rows, gotVersion int64
		payload          string
		got              struct{ Content string }
	)
	if err := db.QueryRowContext(ctx, `SELECT count(*), max(version), max(content) FROM `+local.ERPTable+` WHERE "key" = ?`, key).
		Scan(&rows, &gotVersion, &payload); err != nil {
		return fmt.Errorf("read the ERP database: %w", err)
	}
	if err := json.Unmarshal([]byte(payload), &got); err != nil {
		return fmt.Errorf("row in the ERP database: %w", err)
	}
	return d.expect(rows == 1 && gotVersion == version && got.Content == content,
		"the row in SQLite has version %d: %s", version, content)
}
