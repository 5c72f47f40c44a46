package outbox

import (
	"embed"
	"fmt"
)

// A Dialect is a kind of database. The zero value is none.
type Dialect string

// The dialects. MySQL is MariaDB, too.
const (
	Postgres Dialect = "postgres"
	MySQL    Dialect = "mysql"
	SQLite   Dialect = "sqlite"
)

// Dialects returns all dialects.
func Dialects() []Dialect { return []Dialect{Postgres, MySQL, SQLite} }

//go:embed ddl/*.sql
var ddl embed.FS

// DDL returns the statements that make the tables of the outbox, as a migration: each ends
// with a semicolon, and to run them again changes nothing. The error says that there is no
// such dialect.
func DDL(d Dialect) (string, error) {
	text, err := ddl.ReadFile("ddl/" + string(d) + ".sql")
	if err != nil {
		return "", fmt.Errorf("%q is not %s, %s or %s", string(d), Postgres, MySQL, SQLite)
	}
	return string(text), nil
}
