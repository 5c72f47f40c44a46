package connsql

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	driver "github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connkit"
)

// keywordPassword finds passwords in the form of a connection string that is
// made of keywords and values.
var keywordPassword = regexp.MustCompile(`(?i)\b(?:password|sslpassword)\s*=\s*('(?:[^'\\]|\\.)*'|\S*)`)

// A dsn is a DSN with a stand-in in place of each reference. Drivers parse it so, and no
// secret can be taken for anything else than a password.
type dsn struct {
	text   string
	values []string // of the stand-ins; "" where nothing was resolved
}

func (c Config) parts(value func(connectors.Ref) string) dsn {
	var d dsn
	d.text = c.DSN.Replace(func(ref connectors.Ref) string {
		d.values = append(d.values, value(ref))
		return standIn(len(d.values) - 1)
	})
	return d
}

func standIn(i int) string { return "extsyncref" + strconv.Itoa(i) + "x" }

// password returns a password that a driver has found, with its references resolved: ""
// if the DSN has none, wherever else the driver may have found one.
func (d dsn) password(found string) string {
	if len(d.values) == 0 {
		return ""
	}
	for i, value := range d.values {
		found = strings.Replace(found, standIn(i), value, 1)
	}
	return found
}

// onlyIn reports whether every stand-in is in the password.
func (d dsn) onlyIn(password string) bool {
	for i := range d.values {
		if !strings.Contains(password, standIn(i)) {
			return false
		}
	}
	return true
}

var errReferencePlace = errors.New("a reference may stand only for the password, as in postgres://user:${env:NAME}@host/database")

// validateDSN refuses what cannot be a DSN, a password that is written into one, and a
// reference that is anything else. No problem repeats the DSN.
func (c Config) validateDSN(p *connectors.Problems) {
	switch {
	case c.DSN == "":
		return // said already
	case c.DSN.IsReference():
		p.Add("dsn", "%v", errReferencePlace)
		return
	}
	d := c.parts(func(connectors.Ref) string { return "" })
	var passwords []string
	var err error
	switch c.Dialect {
	case postgresDialect:
		passwords, err = c.checkPostgres(d)
	case mysqlDialect:
		passwords, err = c.checkMySQL(d)
	case sqliteDialect:
		err = checkSQLitePath(d.text)
		if err == nil && len(d.values) > 0 {
			err = errors.New("the path of a file cannot refer to a secret")
		}
	}
	if err != nil {
		p.Add("dsn", "%v", err)
	}
	for _, password := range passwords {
		if d.password(password) != "" || len(d.values) == 0 && password != "" {
			p.Add("dsn", "it holds a password; write ${env:NAME} or ${file:/path} in its place")
			return
		}
	}
}

// postgresKeys are what a DSN may say. Those that name files are not among them: the
// driver would read whatever it is told to.
func postgresKeys() []string {
	return []string{
		"host", "port", "user", "password", "dbname", "sslmode", "ssl", "sslsni", "sslnegotiation", "channel_binding", "require_auth",
		"target_session_attrs", "connect_timeout", "application_name", "search_path", "options", "client_encoding",
		"min_protocol_version", "max_protocol_version", "default_query_exec_mode", "statement_cache_capacity", "description_cache_capacity",
		"pool_max_conn_lifetime", "pool_max_conn_idle_time", "pool_health_check_period",
	}
}

func (c Config) checkPostgres(d dsn) (passwords []string, err error) {
	if passwords, err = postgresPasswords(d.text); err != nil {
		return nil, err
	}
	cfg, err := pgconn.ParseConfigWithOptions(d.text, pgconn.ParseConfigOptions{ConnStringAllowedKeys: postgresKeys()})
	if err != nil {
		return passwords, fmt.Errorf("%w; keywords are: %s", errPostgresDSN, strings.Join(postgresKeys(), ", "))
	}
	if !d.onlyIn(cfg.Password) {
		return passwords, errReferencePlace
	}
	if c.TLS != (connkit.TLS{}) && strings.Contains(d.text, "ssl") {
		return passwords, errors.New("it has sslmode or the like; with tls beside it, leave that out")
	}
	return passwords, nil
}

func (c Config) checkMySQL(d dsn) (passwords []string, err error) {
	cfg, err := driver.ParseDSN(d.text)
	if err != nil {
		return nil, errMySQLDSN
	}
	if !d.onlyIn(cfg.Passwd) {
		return nil, errReferencePlace
	}
	if c.TLS != (connkit.TLS{}) && cfg.TLSConfig != "" {
		return nil, errors.New("it has the option tls; with tls beside it, leave that out")
	}
	return []string{cfg.Passwd}, nil
}

func isURL(dsn string) bool {
	return strings.HasPrefix(dsn, "postgres://") || strings.HasPrefix(dsn, "postgresql://")
}

// errPostgresDSN stands for the driver's own errors, which may show a part of
// the DSN.
var errPostgresDSN = errors.New("it is neither a URL (postgres://user@host/database) nor a list of keywords and values")

// errPostgresMode: without a description of the statement the driver cannot send
// arrays, and every write would fail.
var errPostgresMode = errors.New("default_query_exec_mode may not be exec or simple_protocol; behind a pooler that keeps no statements take describe_exec or cache_describe")

func postgresPasswords(dsn string) ([]string, error) {
	if !isURL(dsn) {
		var found []string
		for _, m := range keywordPassword.FindAllStringSubmatch(dsn, -1) {
			found = append(found, strings.Trim(m[1], "'"))
		}
		if !strings.Contains(dsn, "=") {
			return nil, errPostgresDSN
		}
		return found, nil
	}
	u, err := url.Parse(dsn)
	if err != nil {
		return nil, errPostgresDSN
	}
	var found []string
	if password, ok := u.User.Password(); ok {
		found = append(found, password)
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, errPostgresDSN
	}
	for name, values := range query {
		if strings.EqualFold(name, "password") || strings.EqualFold(name, "sslpassword") {
			found = append(found, values...)
		}
	}
	return found, nil
}

var errMySQLDSN = errors.New("it is not of the form user:password@tcp(host:port)/database?option=value")

// checkSQLitePath refuses what SQLite would take for something else than the
// path of a file: a database in memory would be lost with its connection.
func checkSQLitePath(path string) error {
	switch {
	case strings.Contains(path, ":memory:") || strings.HasPrefix(path, "file:"):
		return errors.New("give the path of a file; a database in memory would not outlive the process")
	case strings.ContainsRune(path, 0):
		return errors.New("the path holds a zero byte")
	}
	return nil
}
