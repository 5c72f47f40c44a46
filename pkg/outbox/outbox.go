package outbox

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// ErrDialect says that a Tx was not made by SQL or Pgx, or SQL was given no dialect.
var ErrDialect = errors.New("the transaction has no dialect: make it by outbox.SQL or outbox.Pgx")

// Put adds an update to the transaction. When that commits, the update will be published;
// when it is rolled back, never. Put locks the key until then: updates of one key are
// published in the order of their commits, and another Put of the key waits. Transactions
// that put several keys should do so in one order, or the database may end one of them to
// resolve a deadlock.
//
// An update needs Channel or Topic, Key, Version, and Payload unless it is a delete. Base,
// ContentType and ReplyTo are kept; an update with any other field is ErrInvalidUpdate, as
// is one that could not be published; only what is too large for the broker is found out by
// the relay. All other errors are the database's: roll back, and begin again if it has ended
// the transaction to resolve a deadlock.
func Put(ctx context.Context, tx Tx, u events.Update) error {
	if err := check(u); err != nil {
		return err
	}
	u = u.WithDefaults()
	count, numbered := u.Version.Int64()
	if !numbered {
		count = 0
	}
	args := []any{u.Route().ID(), u.Key, u.Version.String(), string(u.Op), u.Payload, u.ContentType, optional(u.Base.String()), optional(u.ReplyTo)}
	if len(u.Payload) == 0 {
		args[4] = nil
	}
	var err error
	switch tx.dialect {
	case Postgres:
		err = tx.exec(ctx, postgresPut, append(args, count)...)
	case MySQL, SQLite:
		lock, insert := mysqlLock, mysqlInsert
		if tx.dialect == SQLite {
			lock, insert = sqliteLock, sqliteInsert
		}
		if err = tx.exec(ctx, lock, u.Key, count); err == nil {
			err = tx.exec(ctx, insert, args...)
		}
	default:
		return ErrDialect
	}
	if err != nil {
		return fmt.Errorf("put key %s into the outbox: %w", u.Key, err)
	}
	return nil
}

// Next returns the next version of a key: 1, 2, 3 and so on, whatever its updates are put
// for. It locks the key until the transaction ends, so that the order of versions is the
// order of commits; after a rollback the same number comes again. It follows the versions
// that Put was given, if they are numbers. The errors are events.ErrKey, and the database's.
func Next(ctx context.Context, tx Tx, key string) (versioning.Version, error) {
	if _, err := events.EncodeKey(key); err != nil {
		return versioning.Version{}, err
	}
	var n int64
	var err error
	switch tx.dialect {
	case Postgres:
		err = tx.queryRow(ctx, postgresNext, key).Scan(&n)
	case MySQL:
		if err = tx.exec(ctx, mysqlNext, key); err == nil {
			err = tx.queryRow(ctx, mysqlCount, key).Scan(&n)
		}
	case SQLite:
		err = tx.queryRow(ctx, sqliteNext, key).Scan(&n)
	default:
		return versioning.Version{}, ErrDialect
	}
	if err != nil {
		return versioning.Version{}, fmt.Errorf("the next version of key %s: %w", key, err)
	}
	return versioning.Number(n)
}

// check finds what the relay could not publish while the platform can still roll back.
func check(u events.Update) error {
	var lost []string
	for _, f := range []struct {
		name string
		set  bool
	}{
		{"ID", u.ID != ""},
		{"Source", u.Source != ""},
		{"Type", u.Type != ""},
		{"Time", !u.Time.IsZero()},
		{"ReplyLines", u.ReplyLines},
		{"TraceParent", u.TraceParent != ""},
		{"TraceState", u.TraceState != ""},
	} {
		if f.set {
			lost = append(lost, f.name)
		}
	}
	if lost != nil {
		return fmt.Errorf("%w: the outbox has no column for %s", events.ErrInvalidUpdate, strings.Join(lost, ", "))
	}
	u = u.WithDefaults()
	if err := u.ValidateNew(); err != nil {
		return err
	}
	return u.CheckPayload()
}

func optional(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}
