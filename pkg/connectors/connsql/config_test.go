package connsql

import (
	"errors"
	"strings"
	"testing"

	"github.com/hms-utl/extsync/pkg/connectors"
)

func TestCheckAccepts(t *testing.T) {
	for name, config := range map[string]string{
		"postgres, least":      "{dialect: postgres, dsn: '${env:DSN}'}",
		"postgres, URL":        "{dialect: postgres, dsn: 'postgres://u:${env:PW}@h:5432/d?sslmode=verify-full', table: erp.policies, auto_create: true, max_batch: 1}",
		"postgres, keywords":   `{dialect: postgres, dsn: "host=h user=u password='${env:PW}'"}`,
		"postgres, no secret":  "{dialect: postgres, dsn: 'postgres://u@h/d'}",
		"mysql":                "{dialect: mysql, dsn: 'u:${file:/run/pw}@tcp(h:3306)/d', tls: {ca_file: /ca.pem}}",
		"sqlite":               "{dialect: sqlite, dsn: /var/lib/x.db, mode: append, content: bytes, max_batch: 1000}",
		"table":                "{dialect: postgres, dsn: 'postgres://h/d', mode: table, columns: [{name: premium, type: numeric, jq: .policy.premium}, {name: tags, type: 'text[]'}]}",
		"table, names changed": "{dialect: sqlite, dsn: x.db, mode: table, on_delete: keep, names: {key: policy_no, version: v}, columns: [{name: key}, {name: version}]}",
	} {
		if err := Kind().Check([]byte(config)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCheckNamesEveryBadField(t *testing.T) {
	for name, c := range map[string]struct {
		config string
		want   []string
	}{
		"nothing":        {"{}", []string{`dialect: "" is none of postgres, mysql, sqlite`, "dsn: it is missing"}},
		"unknown fields": {"{dialect: sqlite, dsn: x, tabel: t, paswort: p}", []string{"tabel", "paswort"}},
		"all at once": {
			"{dialect: oracle, dsn: '${env:DSN}', mode: upsert, content: xml, on_delete: drop, max_batch: 1001, table: a.b.c, tls: {cert_file: c}}",
			[]string{"dialect:", "mode:", "content:", "on_delete:", "max_batch: 1001 is outside 1..1000", "table:", "tls: only", "tls: cert_file and key_file"},
		},
		"SQLite's own":     {"{dialect: sqlite, dsn: x, table: main.SQLite_Master}", []string{"table:", "SQLite itself"}},
		"table name":       {"{dialect: sqlite, dsn: x, table: \"a\\u0000b\"}", []string{"table:"}},
		"long table":       {"{dialect: sqlite, dsn: x, table: " + strings.Repeat("t", 64) + "}", []string{"table:", "longer than 63 bytes"}},
		"negative batch":   {"{dialect: sqlite, dsn: x, max_batch: -1}", []string{"max_batch: -1"}},
		"memory":           {"{dialect: sqlite, dsn: ':memory:'}", []string{"dsn: give the path of a file"}},
		"memory as URI":    {"{dialect: sqlite, dsn: 'file:x?mode=memory'}", []string{"dsn: give the path of a file"}},
		"no columns":       {"{dialect: sqlite, dsn: x, mode: table}", []string{"columns: mode table needs at least one"}},
		"needless columns": {"{dialect: sqlite, dsn: x, columns: [{name: a}]}", []string{"columns: only mode table"}},
		"bad columns": {
			"{dialect: sqlite, dsn: x, mode: table, columns: [{name: ''}, {name: a, type: money}, {name: A}, {name: digest}, {name: b, jq: '.['}, {name: c, type: 'text[]'}, {name: d, jq: 'nosuch(.)'}]}",
			[]string{
				"columns[0].name: a name is empty", `columns[1].type: "money"`, "columns[2].name:", "columns[3].name:",
				"columns[4].jq:", `columns[5].type: "text[]" is not a type of dialect sqlite`, "columns[6].jq:",
			},
		},
		"name taken":          {"{dialect: sqlite, dsn: x, names: {op: content}}", []string{`"content" is also the column of names.op`}},
		"not a postgres DSN":  {"{dialect: postgres, dsn: 'postgres://h:port/d'}", []string{"dsn:"}},
		"no postgres DSN":     {"{dialect: postgres, dsn: nonsense}", []string{"dsn:"}},
		"not a mysql DSN":     {"{dialect: mysql, dsn: 'u@h:3306'}", []string{"dsn:"}},
		"postgres TLS fields": {"{dialect: postgres, dsn: 'postgres://h/d', tls: {ca_file: x}}", []string{"tls:", "sslrootcert"}},
	} {
		t.Run(name, func(t *testing.T) {
			err := Kind().Check([]byte(c.config))
			if !errors.Is(err, connectors.ErrConfig) {
				t.Fatalf("error %v, want ErrConfig", err)
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q does not say %q", err, want)
				}
			}
		})
	}
}

func TestPasswordMustBeAReference(t *testing.T) {
	const secret = "hunter2"
	for name, config := range map[string]string{
		"postgres URL":          "{dialect: postgres, dsn: 'postgres://u:hunter2@h/d'}",
		"postgres option":       "{dialect: postgres, dsn: 'postgres://u@h/d?password=hunter2'}",
		"postgres key password": "{dialect: postgres, dsn: 'postgres://u@h/d?sslpassword=hunter2'}",
		"postgres keywords":     `{dialect: postgres, dsn: "host=h PASSWORD = 'hunter2' user=u"}`,
		"postgres plain":        "{dialect: postgres, dsn: host=h password=hunter2}",
		"half a reference":      "{dialect: postgres, dsn: 'postgres://u:hunter2${env:PW}@h/d'}",
		"mysql":                 "{dialect: mysql, dsn: 'u:hunter2@tcp(h)/d'}",
		"unreadable":            "{dialect: postgres, dsn: 'postgres://u:hunter2@h:port/d'}",
		"unreadable mysql":      "{dialect: mysql, dsn: 'u:hunter2@tcp(h'}",
	} {
		t.Run(name, func(t *testing.T) {
			err := Kind().Check([]byte(config))
			if !errors.Is(err, connectors.ErrConfig) {
				t.Fatalf("error %v, want ErrConfig", err)
			}
			if !strings.Contains(err.Error(), "dsn:") || strings.Contains(err.Error(), secret) {
				t.Errorf("error %q must name dsn and not show the password", err)
			}
		})
	}
}

func TestResolveEscapesSecrets(t *testing.T) {
	const secret = `a'b\c d@e/f?g%41&h=i+j`
	lookup := connectors.Secrets{LookupEnv: func(string) (string, bool) { return secret, true }}
	for name, c := range map[string]struct{ dialect, dsn string }{
		"postgres URL":      {postgresDialect, "postgres://u:${env:PW}@h/d"},
		"postgres option":   {postgresDialect, "postgres://u@h/d?password=${env:PW}"},
		"postgres keywords": {postgresDialect, "host=h password='${env:PW}' user=u dbname=d"},
		"mysql":             {mysqlDialect, "u:${env:PW}@tcp(h)/d"},
	} {
		t.Run(name, func(t *testing.T) {
			config := Config{Dialect: c.dialect, DSN: connectors.Ref(c.dsn)}
			dsn, _, err := config.resolve(lookup)
			if err != nil {
				t.Fatal(err)
			}
			db, password, err := openDatabase(c.dialect, pool{dsn: dsn, connections: 1, timeout: defaultTimeout}, layout{})
			if err != nil {
				t.Fatal(err)
			}
			if password != secret {
				t.Errorf("the driver reads the password %q, want %q", password, secret)
			}
			if err := db.close(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestMissingSecrets(t *testing.T) {
	config := Config{Dialect: postgresDialect, DSN: "postgres://${env:A}:${env:B}@h/d"}
	_, _, err := config.resolve(connectors.Secrets{LookupEnv: func(string) (string, bool) { return "", false }})
	if !errors.Is(err, connectors.ErrSecret) || connectors.ClassOf(err) != connectors.Misconfigured {
		t.Fatalf("error %v, class %s", err, connectors.ClassOf(err))
	}
	for _, name := range []string{"A", "B"} {
		if !strings.Contains(err.Error(), "variable "+name) {
			t.Errorf("error %q does not name %s", err, name)
		}
	}
}

func TestTableOfAChannel(t *testing.T) {
	if got, err := (Config{}).tableFor("erp-db"); got != "extsync_erp_db" || err != nil {
		t.Errorf("table %q, %v", got, err)
	}
	if _, err := (Config{}).tableFor(strings.Repeat("c", 60)); !errors.Is(err, connectors.ErrConfig) {
		t.Errorf("a name that is too long gives %v", err)
	}
}
