package connsql

import (
	"errors"
	"strings"
	"testing"

	driver "github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connectortest"
)

func TestCheckAccepts(t *testing.T) {
	for name, config := range map[string]string{
		"postgres, least":      "{dialect: postgres, dsn: 'postgres://h/d'}",
		"postgres, URL":        "{dialect: postgres, dsn: 'postgres://u:${env:PW}@h:5432/d?sslmode=verify-full', table: erp.policies, auto_create: true, max_batch: 1}",
		"postgres, keywords":   `{dialect: postgres, dsn: "host=h user=u password='${env:PW}'"}`,
		"postgres, no secret":  "{dialect: postgres, dsn: 'postgres://u@h/d'}",
		"mysql":                "{dialect: mysql, dsn: 'u:${file:/run/pw}@tcp(h:3306)/d', tls: {ca: '${file:/ca.pem}'}, allow_cidrs: [10.0.0.0/8]}",
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
		"nothing":        {"{}", []string{"dialect: it is missing; give one of postgres, mysql, sqlite", "dsn: it is missing"}},
		"unknown fields": {"{dialect: sqlite, dsn: x, tabel: t, paswort: p}", []string{"tabel", "paswort"}},
		"all at once": {
			"{dialect: oracle, dsn: x, mode: upsert, content: xml, max_batch: 1001, table: a.b.c, tls: {cert: c}}",
			[]string{"dialect:", "mode:", "content:", "max_batch: 1001 is outside 1..1000", "table:", "tls: cert and key"},
		},
		"words":            {"{dialect: sqlite, dsn: x, on_delete: drop, lossy: perhaps}", []string{"on_delete:", "clear, keep, delete", "lossy:"}},
		"append":           {"{dialect: sqlite, dsn: x, mode: append, on_delete: delete}", []string{"mode: append keeps every version"}},
		"no versions":      {"{dialect: sqlite, dsn: x, versions_table: v}", []string{"versions_table: it means nothing unless on_delete is delete"}},
		"one key column":   {"{dialect: sqlite, dsn: x, key_columns: [id]}", []string{"key_columns: one column is names.key"}},
		"key twice":        {"{dialect: sqlite, dsn: x, key_columns: [id, ID]}", []string{"key_columns[1]"}},
		"no pooler":        {"{dialect: mysql, dsn: 'u@tcp(h)/d', pooler: true}", []string{"pooler: it means nothing unless dialect is postgres"}},
		"SQLite's own":     {"{dialect: sqlite, dsn: x, table: main.SQLite_Master}", []string{"table:", "SQLite itself"}},
		"table name":       {"{dialect: sqlite, dsn: x, table: \"a\\u0000b\"}", []string{"table:"}},
		"long table":       {"{dialect: sqlite, dsn: x, table: " + strings.Repeat("t", 64) + "}", []string{"table:", "longer than 63 bytes"}},
		"negative batch":   {"{dialect: sqlite, dsn: x, max_batch: -1}", []string{"max_batch: -1"}},
		"memory":           {"{dialect: sqlite, dsn: ':memory:'}", []string{"dsn: give the path of a file"}},
		"memory as URI":    {"{dialect: sqlite, dsn: 'file:x?mode=memory'}", []string{"dsn: give the path of a file"}},
		"no columns":       {"{dialect: sqlite, dsn: x, mode: table}", []string{"columns: it is missing, and needed where mode is table"}},
		"needless columns": {"{dialect: sqlite, dsn: x, columns: [{name: a}]}", []string{"columns: it means nothing unless mode is table"}},
		"bad columns": {
			"{dialect: sqlite, dsn: x, mode: table, columns: [{name: ''}, {name: a, type: money}, {name: A}, {name: digest}, {name: b, jq: '.['}, {name: c, type: 'text[]'}, {name: d, jq: 'nosuch(.)'}]}",
			[]string{
				"columns[0].name: a name is empty", `columns[1].type: "money"`, "columns[2].name:", "columns[3].name:",
				"columns[4].jq:", `columns[5].type: "text[]" is not a type of dialect sqlite`, "columns[6].jq:",
			},
		},
		"name taken":         {"{dialect: sqlite, dsn: x, names: {op: content}}", []string{`"content" is also the column of names.op`}},
		"not a postgres DSN": {"{dialect: postgres, dsn: 'postgres://h:port/d'}", []string{"dsn:"}},
		"no postgres DSN":    {"{dialect: postgres, dsn: nonsense}", []string{"dsn:"}},
		"not a mysql DSN":    {"{dialect: mysql, dsn: 'u@h:3306'}", []string{"dsn:"}},
		"TLS twice":          {"{dialect: postgres, dsn: 'postgres://h/d?sslmode=require', tls: {ca: x}}", []string{"dsn:", "sslmode"}},
		"MySQL's TLS twice":  {"{dialect: mysql, dsn: 'u@tcp(h)/d?tls=true', tls: {ca: x}}", []string{"dsn:", "option tls"}},
		"SQLite's TLS":       {"{dialect: sqlite, dsn: x, tls: {ca: x}}", []string{"tls"}},
		"bad networks":       {"{dialect: mysql, dsn: 'u@tcp(h)/d', allow_cidrs: [10.0.0.1/8]}", []string{"allow_cidrs:"}},
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

func TestPasswordIsTakenAsItIs(t *testing.T) {
	const secret = `a'b\c d@e/f?g%41&h=i+j@tcp(evil)/x`
	for name, c := range map[string]struct{ dialect, dsn string }{
		"postgres URL":      {postgresDialect, "postgres://u:${env:PW}@h/d"},
		"postgres option":   {postgresDialect, "postgres://u@h/d?password=${env:PW}"},
		"postgres keywords": {postgresDialect, "host=h password='${env:PW}' user=u dbname=d"},
		"mysql":             {mysqlDialect, "u:${env:PW}@tcp(h)/d"},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := Config{Dialect: c.dialect, DSN: connectors.Ref(c.dsn)}.pool(connectortest.Env(map[string]string{"PW": secret}))
			if err != nil {
				t.Fatal(err)
			}
			found := ""
			if c.dialect == mysqlDialect {
				cfg, err := driver.ParseDSN(p.dsn.text)
				if err != nil {
					t.Fatal(err)
				}
				found = p.dsn.password(cfg.Passwd)
			} else {
				cfg, err := pgx.ParseConfig(p.dsn.text)
				if err != nil {
					t.Fatal(err)
				}
				reach(&cfg.Config, p)
				found = cfg.Password
			}
			if found != secret {
				t.Errorf("the password is %q, want %q", found, secret)
			}
		})
	}
}

// The driver also looks for a password, a client's key and a whole service in the
// environment and the home directory of the process: a channel had them sent to a server
// of its own.
func TestPostgresDoesNotTakeTheProcessesOwnPassword(t *testing.T) {
	t.Setenv("PGPASSWORD", "canary")
	p, err := Config{Dialect: postgresDialect, DSN: "postgres://u@h/d"}.pool(connectortest.Env(nil))
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := pgx.ParseConfig(p.dsn.text)
	if err != nil || cfg.Password != "canary" {
		t.Fatalf("the driver does not do so any more: %q, %v", cfg.Password, err)
	}
	if reach(&cfg.Config, p); cfg.Password != "" {
		t.Errorf("the password is %q", cfg.Password)
	}
}

// Secrets got into names, and files of the process into the driver.
func TestReferencesStandForPasswordsOnly(t *testing.T) {
	for name, config := range map[string]string{
		"whole":                "{dialect: postgres, dsn: '${env:PW}'}",
		"postgres host":        "{dialect: postgres, dsn: 'postgres://u:${env:PW}@${env:PW}/d'}",
		"postgres user":        "{dialect: postgres, dsn: 'postgres://${env:PW}:${env:PW}@h/d'}",
		"postgres database":    "{dialect: postgres, dsn: 'postgres://h/${env:PW}'}",
		"postgres option":      "{dialect: postgres, dsn: 'postgres://h/d?application_name=${env:PW}'}",
		"within another value": `{dialect: postgres, dsn: "host=h user='a password=${env:PW}'"}`,
		"password file":        "{dialect: postgres, dsn: 'postgres://h/d?passfile=/etc/passwd'}",
		"service file":         "{dialect: postgres, dsn: 'postgres://h/d?service=a&servicefile=/etc/passwd'}",
		"key file":             "{dialect: postgres, dsn: 'host=h sslkey=/run/worker.key sslcert=/run/worker.crt'}",
		"mysql host":           "{dialect: mysql, dsn: 'u:${env:PW}@tcp(${env:PW}:1)/d'}",
		"mysql user":           "{dialect: mysql, dsn: '${env:PW}:x@tcp(h)/d'}",
		"sqlite":               "{dialect: sqlite, dsn: '/tmp/${env:PW}.db'}",
	} {
		t.Run(name, func(t *testing.T) {
			if err := Kind().Check([]byte(config)); !errors.Is(err, connectors.ErrConfig) || !strings.Contains(err.Error(), "dsn:") {
				t.Errorf("error %v", err)
			}
		})
	}
}

func TestMissingSecrets(t *testing.T) {
	config := Config{Dialect: postgresDialect, DSN: "postgres://u:${env:A}${env:B}@h/d"}
	env := connectors.Host{
		Allow:     connectors.Allow{Grant: connectors.Grant{Env: connectors.List{"A", "B"}}},
		LookupEnv: func(string) (string, bool) { return "", false },
	}.Env("c")
	_, err := config.pool(env)
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

// A temporary table takes every update, and is empty after the next connection.
func TestTemporaryTablesAreRefused(t *testing.T) {
	for _, config := range []string{
		`{"dialect":"sqlite","dsn":"/tmp/a.db","table":"temp.policies"}`,
		`{"dialect":"sqlite","dsn":"/tmp/a.db","table":"TEMP.policies"}`,
		`{"dialect":"postgres","dsn":"postgres://u@h/d","table":"pg_temp.policies"}`,
		`{"dialect":"postgres","dsn":"postgres://u@h/d","table":"pg_temp_3.policies"}`,
	} {
		if err := Kind().Check([]byte(config)); err == nil || !strings.Contains(err.Error(), "ends with the connection") {
			t.Errorf("%s: %v", config, err)
		}
	}
}
