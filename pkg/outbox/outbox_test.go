package outbox_test

import (
	"database/sql"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/outbox"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// A row holds all that an update says, and a transaction that is rolled back leaves none.
func TestPutAddsARow(t *testing.T) {
	t.Parallel()
	inEachDialect(t, func(t *testing.T, l *lab) {
		full := events.Update{
			Topic: "policies", Key: "a/b ü", Version: testkit.Number(3), Base: testkit.Number(2), Op: events.Upsert,
			Payload: []byte("x\x00'\"\\\xff"), ContentType: "application/octet-stream", ReplyTo: "_INBOX.platform",
		}
		gone := events.Update{Channel: "erp", Key: "b", Version: testkit.Version(t, "2024-05-01T10:00:00.5Z"), Op: events.Delete}
		tx, out := l.begin()
		testkit.Must(t, outbox.Put(t.Context(), out, full))
		testkit.Must(t, tx.Rollback())
		if n := l.count("SELECT count(*) FROM extsync_outbox"); n != 0 {
			t.Errorf("%d rows after a rollback", n)
		}
		l.commit(func(tx outbox.Tx) {
			testkit.Must(t, outbox.Put(t.Context(), tx, full))
			testkit.Must(t, outbox.Put(t.Context(), tx, gone))
		})
		for _, want := range []struct{ target, key, version, op, payload, contentType, base, replyTo string }{
			{"topics/policies", "a/b ü", "3", "upsert", "x\x00'\"\\\xff", "application/octet-stream", "2", "_INBOX.platform"},
			{"erp", "b", "2024-05-01T10:00:00.5Z", "delete", "NULL", "application/json", "NULL", "NULL"},
		} {
			got := want
			var payload []byte
			var base, replyTo sql.NullString
			testkit.Must(t, l.db.QueryRowContext(t.Context(), "SELECT "+l.key()+", version, op, payload, content_type, base, reply_to FROM extsync_outbox WHERE target = '"+want.target+"'").
				Scan(&got.key, &got.version, &got.op, &payload, &got.contentType, &base, &replyTo))
			got.payload, got.base, got.replyTo = string(payload), orNull(base), orNull(replyTo)
			if payload == nil {
				got.payload = "NULL"
			}
			if got != want {
				t.Errorf("row %q, want %q", got, want)
			}
		}
	})
}

func orNull(s sql.NullString) string {
	if !s.Valid {
		return "NULL"
	}
	return s.String
}

// An update that could not be published, or not as it is, is refused while the platform can
// still do something about it; the transaction goes on.
func TestPutRefusesWhatCouldNotBePublished(t *testing.T) {
	t.Parallel()
	inEachDialect(t, func(t *testing.T, l *lab) {
		change := func(f func(*events.Update)) events.Update {
			u := of("a", 1)
			f(&u)
			return u
		}
		l.commit(func(tx outbox.Tx) {
			for name, u := range map[string]events.Update{
				"nothing":         {},
				"no target":       change(func(u *events.Update) { u.Channel = "" }),
				"two targets":     change(func(u *events.Update) { u.Topic = "policies" }),
				"a bad target":    change(func(u *events.Update) { u.Channel = "no such/target" }),
				"no key":          change(func(u *events.Update) { u.Key = "" }),
				"a long key":      change(func(u *events.Update) { u.Key = strings.Repeat("k", events.MaxKeyLen+1) }),
				"no version":      change(func(u *events.Update) { u.Version = versioning.Version{} }),
				"no payload":      change(func(u *events.Update) { u.Payload = nil }),
				"bad JSON":        change(func(u *events.Update) { u.Payload = []byte(`{"a":`) }),
				"no such op":      change(func(u *events.Update) { u.Op = "rename" }),
				"a bad reply":     change(func(u *events.Update) { u.ReplyTo = " " }),
				"no subject":      change(func(u *events.Update) { u.ReplyTo = "_INBOX..a" }),
				"a bad type":      change(func(u *events.Update) { u.ContentType = "a\nb" }),
				"a base of times": change(func(u *events.Update) { u.Base = testkit.Version(t, "2024-05-01T10:00:00Z") }),
			} {
				if err := outbox.Put(t.Context(), tx, u); !errors.Is(err, events.ErrInvalidUpdate) {
					t.Errorf("%s: error %v, want ErrInvalidUpdate", name, err)
				}
			}
			testkit.Must(t, outbox.Put(t.Context(), tx, of("a", 1)))
		})
		if n := l.count("SELECT count(*) FROM extsync_outbox"); n != 1 {
			t.Errorf("%d rows, want 1", n)
		}
	})
}

// Each field of an update has a column, or is refused: none is lost in silence.
func TestPutLosesNoField(t *testing.T) {
	t.Parallel()
	l := newLab(t, outbox.SQLite)
	kept := []string{"Channel", "Topic", "Key", "Version", "Op", "Base", "Payload", "ContentType", "ReplyTo"}
	set := map[string]any{
		"ID": "x", "Source": "/x", "Type": "x", "Time": time.Unix(1, 0), "ReplyLines": true, "TraceParent": "x", "TraceState": "x",
	}
	_, tx := l.begin()
	for field := range reflect.TypeFor[events.Update]().Fields() {
		if slices.Contains(kept, field.Name) {
			continue
		}
		value, known := set[field.Name]
		if !known {
			t.Errorf("nobody has said whether the outbox keeps %s", field.Name)
			continue
		}
		u := of("a", 1)
		reflect.ValueOf(&u).Elem().FieldByIndex(field.Index).Set(reflect.ValueOf(value))
		if err := outbox.Put(t.Context(), tx, u); !errors.Is(err, events.ErrInvalidUpdate) || !strings.Contains(err.Error(), field.Name) {
			t.Errorf("%s: error %v, want ErrInvalidUpdate that names it", field.Name, err)
		}
	}
}

func TestDialects(t *testing.T) {
	t.Parallel()
	if _, err := outbox.DDL("oracle"); err == nil || !strings.Contains(err.Error(), "oracle") {
		t.Errorf("error %v", err)
	}
	l := newLab(t, outbox.SQLite)
	sqlTx, _ := l.begin()
	for name, tx := range map[string]outbox.Tx{"none": {}, "one that is not": outbox.SQL(sqlTx, "oracle")} {
		if err := outbox.Put(t.Context(), tx, of("a", 1)); !errors.Is(err, outbox.ErrDialect) {
			t.Errorf("%s: Put: error %v, want ErrDialect", name, err)
		}
		if _, err := outbox.Next(t.Context(), tx, "a"); !errors.Is(err, outbox.ErrDialect) {
			t.Errorf("%s: Next: error %v, want ErrDialect", name, err)
		}
	}
	// Another database's dialect is the database's to refuse, and the error names the key.
	err := outbox.Put(t.Context(), outbox.SQL(sqlTx, outbox.MySQL), of("a", 1))
	if err == nil || errors.Is(err, outbox.ErrDialect) || !strings.Contains(err.Error(), "key a ") {
		t.Errorf("error %v", err)
	}
	if _, err := outbox.Next(t.Context(), outbox.SQL(sqlTx, outbox.MySQL), "a"); err == nil || !strings.Contains(err.Error(), "key a:") {
		t.Errorf("error %v", err)
	}
}

func TestNextCounts(t *testing.T) {
	t.Parallel()
	inEachDialect(t, func(t *testing.T, l *lab) {
		next := func(tx outbox.Tx, want string) {
			t.Helper()
			v, err := outbox.Next(t.Context(), tx, "a")
			if err != nil || v.String() != want {
				t.Errorf("version %s, %v; want %s", v, err, want)
			}
		}
		l.commit(func(tx outbox.Tx) { next(tx, "1"); next(tx, "2") })
		tx, out := l.begin()
		next(out, "3")
		testkit.Must(t, tx.Rollback())
		l.commit(func(tx outbox.Tx) { next(tx, "3") })
		// It follows the numbers that are put, in any order, and no times.
		l.commit(func(tx outbox.Tx) {
			testkit.Must(t, outbox.Put(t.Context(), tx, of("a", 41)))
			testkit.Must(t, outbox.Put(t.Context(), tx, of("a", 7)))
			u := of("a", 1)
			u.Version = testkit.Version(t, "2024-05-01T10:00:00Z")
			testkit.Must(t, outbox.Put(t.Context(), tx, u))
			next(tx, "42")
			if v, err := outbox.Next(t.Context(), tx, "b"); err != nil || v.String() != "1" {
				t.Errorf("version of another key: %s, %v", v, err)
			}
			for _, key := range []string{"", strings.Repeat("k", events.MaxKeyLen+1)} {
				if _, err := outbox.Next(t.Context(), tx, key); !errors.Is(err, events.ErrKey) {
					t.Errorf("a key of %d bytes: error %v, want ErrKey", len(key), err)
				}
			}
		})
	})
}

// Whoever puts a key second waits for the first one's end: ids are in the order of commits.
func TestPutsOfOneKeyCommitInOrder(t *testing.T) {
	t.Parallel()
	inEachDialect(t, func(t *testing.T, l *lab) {
		first, out := l.begin()
		testkit.Must(t, outbox.Put(t.Context(), out, of("a", 1)))
		done := make(chan error, 1)
		go func() {
			second, err := l.db.BeginTx(t.Context(), nil) // where SQLite waits
			if err == nil {
				err = errors.Join(outbox.Put(t.Context(), outbox.SQL(second, l.dialect), of("a", 2)), second.Commit())
			}
			done <- err
		}()
		testkit.Eventually(t, "the second to wait", l.waits)
		select {
		case err := <-done:
			t.Fatalf("the second did not wait: %v", err)
		default:
		}
		if l.dialect != outbox.SQLite { // another key waits for nobody
			l.commit(func(tx outbox.Tx) { testkit.Must(t, outbox.Put(t.Context(), tx, of("b", 1))) })
		}
		testkit.Must(t, first.Commit())
		testkit.Must(t, <-done)
		if got := l.versions("a"); got != "1 2" {
			t.Errorf("versions in the order of ids: %s", got)
		}
	})
}

// Many at once get each version once, and the order of versions is that of the rows.
func TestNextAtOnce(t *testing.T) {
	t.Parallel()
	inEachDialect(t, func(t *testing.T, l *lab) {
		const writers, each = 4, 15
		done := make(chan error, writers)
		for range writers {
			go func() {
				var err error
				for i := range each {
					// Every third is rolled back, and leaves no gap.
					if i%3 == 0 {
						err = errors.Join(err, l.putNext("a", false))
					}
					err = errors.Join(err, l.putNext("a", true))
				}
				done <- err
			}()
		}
		for range writers {
			testkit.Must(t, <-done)
		}
		var want []string
		for v := range writers * each {
			want = append(want, fmt.Sprint(v+1))
		}
		if got := l.versions("a"); got != strings.Join(want, " ") {
			t.Errorf("versions in the order of ids: %s", got)
		}
	})
}

// putNext puts the next version of a key, and begins again after a deadlock, as platforms do.
// MySQL has one when several wait for a key that is new, and its first transaction is rolled back.
func (l *lab) putNext(key string, commit bool) error {
	for {
		err := l.tryNext(key, commit)
		if deadlock := new(mysql.MySQLError); !errors.As(err, &deadlock) || deadlock.Number != 1213 {
			return err
		}
	}
}

func (l *lab) tryNext(key string, commit bool) error {
	tx, err := l.db.BeginTx(l.t.Context(), nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // after a commit it does nothing
	out := outbox.SQL(tx, l.dialect)
	v, err := outbox.Next(l.t.Context(), out, key)
	if err != nil {
		return err
	}
	u := of(key, 1)
	u.Version = v
	if err := outbox.Put(l.t.Context(), out, u); err != nil || !commit {
		return err
	}
	return tx.Commit()
}

// Locks of keys are rows, and so a transaction may put any number of them.
func TestTransactionWithManyPuts(t *testing.T) {
	t.Parallel()
	inEachDialect(t, func(t *testing.T, l *lab) {
		const keys = 20_000
		l.commit(func(tx outbox.Tx) {
			for i := range keys {
				testkit.Must(t, outbox.Put(t.Context(), tx, of(fmt.Sprintf("k%d", i), 1)))
			}
		})
		if n := l.count("SELECT count(*) FROM extsync_outbox"); n != keys {
			t.Errorf("%d rows, want %d", n, keys)
		}
	})
}
