package connsql_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connectortest"
	"github.com/hms-utl/extsync/pkg/connectors/connsql"
	"github.com/hms-utl/extsync/pkg/events"
)

// table is the table of the suite's channel.
const table = "extsync_" + connectortest.Channel

// poison is a payload that the database refuses by itself: each target has a
// constraint or a trigger for it.
const poison = `{"text":"payload-canary-poison"}`

// conformanceModes are the modes that keep one row for each key. Both have the
// payload in a column of the same name.
func conformanceModes() map[string]string {
	return map[string]string{
		"document": "",
		"table":    "mode: table\ncolumns: [{name: content, type: json, jq: .}]\n",
		"deleted":  "on_delete: delete\n",
	}
}

func TestConformance(t *testing.T) {
	for name, newTarget := range sqlTargets() {
		for mode, config := range conformanceModes() {
			// One after the other: each case looks for goroutines that are left over.
			t.Run(name+", "+mode, func(t *testing.T) {
				d := newTarget(t)
				if mode == "deleted" {
					d.versions = table + "_versions"
				}
				d.prepare(t, config)
				connectortest.Run(t, d.conformance(config))
			})
		}
	}
}

// prepare makes the table, has its writes counted and the poison refused.
func (d *target) prepare(t *testing.T, config string) {
	t.Helper()
	c := d.open(t, config+"auto_create: true\n")
	want(t, apply(t, c, attempt("made", 1, `{}`))[0], connectors.OK, "")
	if err := c.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if d.user != "" {
		d.exec(t, d.takeOver...)
		d.exec(t, "GRANT SELECT, INSERT, UPDATE ON "+table+" TO "+d.user)
		if d.versions != "" {
			d.exec(t, "GRANT DELETE ON "+table+" TO "+d.user, "GRANT SELECT, INSERT, UPDATE ON "+d.versions+" TO "+d.user)
		}
	}
	switch d.dialect {
	case "postgres":
		d.exec(t,
			`CREATE TABLE writes (k text NOT NULL)`,
			`CREATE FUNCTION watch() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN
				IF NEW.content->>'text' = 'payload-canary-poison' THEN RAISE EXCEPTION 'refused: %', NEW.content; END IF;
				INSERT INTO writes VALUES (NEW.key);
				RETURN NEW;
			END $$`,
			`CREATE TRIGGER watch AFTER INSERT OR UPDATE ON `+table+` FOR EACH ROW EXECUTE FUNCTION watch()`,
			`CREATE FUNCTION watch_delete() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN INSERT INTO writes VALUES (OLD.key); RETURN OLD; END $$`,
			`CREATE TRIGGER watch_delete AFTER DELETE ON `+table+` FOR EACH ROW EXECUTE FUNCTION watch_delete()`)
	case "mysql":
		const refuse = "IF JSON_VALUE(NEW.content, '$.text') = 'payload-canary-poison' THEN " +
			"SET @m = CONCAT('refused: ', NEW.content); SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = @m; END IF; "
		d.exec(t,
			"CREATE TABLE writes (k VARBINARY(1024) NOT NULL)",
			"CREATE TRIGGER watch_insert AFTER INSERT ON "+table+" FOR EACH ROW BEGIN "+refuse+"INSERT INTO writes VALUES (NEW.`key`); END",
			"CREATE TRIGGER watch_update AFTER UPDATE ON "+table+" FOR EACH ROW BEGIN "+refuse+
				"IF OLD.updated_at <> NEW.updated_at THEN INSERT INTO writes VALUES (NEW.`key`); END IF; END",
			"CREATE TRIGGER watch_delete AFTER DELETE ON "+table+" FOR EACH ROW INSERT INTO writes VALUES (OLD.`key`)")
	case "sqlite":
		d.exec(t, "CREATE TABLE writes (k TEXT NOT NULL)",
			"CREATE TRIGGER watch_delete AFTER DELETE ON "+table+" BEGIN INSERT INTO writes VALUES (OLD.key); END")
		for _, event := range []string{"INSERT", "UPDATE"} {
			d.exec(t, fmt.Sprintf(`CREATE TRIGGER watch_%[1]s AFTER %[1]s ON %[2]s BEGIN
				SELECT RAISE(ABORT, 'refused') WHERE NEW.content->>'text' = 'payload-canary-poison';
				INSERT INTO writes VALUES (NEW.key);
			END`, event, table))
		}
	}
}

func (d *target) conformance(config string) connectortest.Target {
	target := connectortest.Target{
		Open: func(t *testing.T) *connectors.Opened {
			c, err := connectors.Open(t.Context(), connsql.Kind(), d.env(), lines(d.dialect, d.dsn, config))
			if err != nil {
				t.Fatal(err)
			}
			return c
		},
		Read: func(t *testing.T, keys ...string) map[string]connectors.Held { return d.held(t, table, keys...) },

		Guarded: true, KeepsDigest: true, Tombstones: true, Times: true,
		BadUpdate: func(u *events.Update) { u.Payload = []byte(poison) },
		Writes: func(t *testing.T, key string) int {
			return d.count(t, "SELECT count(*) FROM writes WHERE k = "+d.param(), key)
		},
		Hang:    d.hang,
		Faults:  d.faults(),
		Secrets: []string{password, d.dsn},
	}
	if d.proxy != nil {
		target.Cut, target.Restore, target.LoseAnswer = d.proxy.cutOff, d.proxy.restore, d.proxy.loseAnswer
	}
	if d.dialect == "mysql" && d.versions != "" {
		target.LoseAnswer = nil // the first one that is lost ends the transaction
	}
	return target
}

// hang keeps the row of a key locked, or the whole file.
func (d *target) hang(t *testing.T, key string) (release func()) {
	t.Helper()
	db := d.connect(t)
	tx, err := db.BeginTx(context.WithoutCancel(t.Context()), nil)
	if err != nil {
		t.Fatal(err)
	}
	_, err = tx.ExecContext(t.Context(), "UPDATE "+table+" SET op = op WHERE "+d.quote("key")+" = "+d.param(), key)
	if err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := tx.Rollback(); err != nil {
			t.Error(err)
		}
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}
}

// faults are what can go wrong with a table. The codes are each database's own.
func (d *target) faults() []connectortest.Fault {
	codes := map[string]map[string]string{
		"postgres": {"table": "42P01", "column": "42703", "refused": "P0001", "locked": "55P03"},
		"mysql":    {"table": "1146", "column": "1054", "refused": "1644", "locked": "1205"},
		"sqlite":   {"table": "sqlite-1", "column": "sqlite-1", "refused": "sqlite-1811", "locked": "sqlite-5"},
	}[d.dialect]
	rename := func(there, back string) func(t *testing.T, _ *events.Update) func() {
		return func(t *testing.T, _ *events.Update) func() {
			d.exec(t, there)
			return func() { d.exec(t, back) }
		}
	}
	all := []connectortest.Fault{
		{
			Name: "missing table", Want: connectors.Misconfigured, Code: codes["table"],
			Arm: rename("ALTER TABLE "+table+" RENAME TO elsewhere", "ALTER TABLE elsewhere RENAME TO "+table),
		},
		{
			Name: "missing column", Want: connectors.Misconfigured, Code: codes["column"],
			Arm: rename("ALTER TABLE "+table+" RENAME COLUMN digest TO other", "ALTER TABLE "+table+" RENAME COLUMN other TO digest"),
		},
		{
			Name: "refused by the database", Want: connectors.Unready, Code: codes["refused"], Broken: true,
			Arm: func(_ *testing.T, u *events.Update) func() {
				u.Payload = []byte(poison)
				return func() {}
			},
		},
		{
			Name: "not the content's type", Want: connectors.Permanent, Code: "payload", Broken: true,
			Arm: func(_ *testing.T, u *events.Update) func() {
				u.Payload = []byte(`{"text": payload-canary-`)
				return func() {}
			},
		},
	}
	if d.dialect == "sqlite" {
		return all // to be locked for as long as a call may take ends as a timeout
	}
	return append(all,
		connectortest.Fault{
			Name: "locked row", Want: connectors.Transient, Code: codes["locked"],
			Arm: func(t *testing.T, u *events.Update) func() { return d.hang(t, u.Key) },
		},
		connectortest.Fault{
			Name: "missing permission", Want: connectors.Misconfigured, Code: map[string]string{"postgres": "42501", "mysql": "1142"}[d.dialect],
			Arm: d.withoutPermission,
		})
}

// withoutPermission takes the right to insert away.
func (d *target) withoutPermission(t *testing.T, _ *events.Update) func() {
	t.Helper()
	d.exec(t, "REVOKE INSERT ON "+table+" FROM "+d.user)
	return func() { d.exec(t, "GRANT INSERT ON "+table+" TO "+d.user) }
}
