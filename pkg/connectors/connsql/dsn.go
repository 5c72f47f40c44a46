package connsql

import (
	"errors"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	driver "github.com/go-sql-driver/mysql"

	"github.com/hms-utl/extsync/pkg/connectors"
)

var (
	refPattern = regexp.MustCompile(`\$\{(?:env|file):[^}]+\}`)
	// keywordPassword finds passwords in the form of a connection string that is
	// made of keywords and values.
	keywordPassword = regexp.MustCompile(`(?i)\b(?:password|sslpassword)\s*=\s*('(?:[^'\\]|\\.)*'|\S*)`)
	refStandIn      = regexp.MustCompile(`extsyncref[0-9]+x`)
)

// validateDSN refuses what cannot be a DSN and a password that is written into
// one. No problem repeats the DSN.
func (c Config) validateDSN(p *connectors.Problems) {
	switch {
	case c.DSN == "":
		p.Add("dsn", "it is missing")
		return
	case c.DSN.IsReference():
		return
	}
	// Stand-ins take the place of the references, so that the text can be parsed.
	n := 0
	text := refPattern.ReplaceAllStringFunc(string(c.DSN), func(string) string {
		n++
		return "extsyncref" + strconv.Itoa(n) + "x"
	})
	var passwords []string
	var err error
	switch c.Dialect {
	case postgresDialect:
		passwords, err = postgresPasswords(text)
	case mysqlDialect:
		passwords, err = mysqlPasswords(text)
	case sqliteDialect:
		err = checkSQLitePath(text)
	}
	if err != nil {
		p.Add("dsn", "%v", err)
	}
	for _, password := range passwords {
		if refStandIn.ReplaceAllString(password, "") != "" {
			p.Add("dsn", "it holds a password; write ${env:NAME} or ${file:/path} in its place")
			return
		}
	}
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

func mysqlPasswords(dsn string) ([]string, error) {
	cfg, err := driver.ParseDSN(dsn)
	if err != nil {
		return nil, errMySQLDSN
	}
	return []string{cfg.Passwd}, nil
}

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

// resolve puts the secrets into a DSN, each escaped for where it stands, and
// returns them too: they must be kept out of messages.
func (c Config) resolve(secrets connectors.Secrets) (dsn string, values []string, err error) {
	plain, err := secrets.Resolve(c.DSN) // its error names all that are missing
	if err != nil || c.DSN.IsReference() {
		return plain, []string{plain}, err
	}
	escape := func(s string) string { return s }
	switch {
	case c.Dialect == postgresDialect && isURL(string(c.DSN)):
		escape = percentEscape
	case c.Dialect == postgresDialect:
		escape = strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace
	}
	dsn = refPattern.ReplaceAllStringFunc(string(c.DSN), func(ref string) string {
		value, _ := secrets.Resolve(connectors.Ref(ref)) // none failed a moment ago
		values = append(values, value)
		return escape(value)
	})
	return dsn, values, nil
}

// percentEscape escapes all that may have a meaning anywhere in a URL.
func percentEscape(s string) string {
	return strings.ReplaceAll(url.QueryEscape(s), "+", "%20")
}
