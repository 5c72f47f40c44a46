package connsql

import (
	"cmp"
	"slices"
	"strconv"

	"github.com/hms-utl/extsync/pkg/connectors"
)

// Why a code has its class.
const (
	whyNever   = "never: the same content fails again"
	whyRow     = "not yet: another row may come or go with another update"
	whyTaken   = "not yet: the row that has the value may give it up"
	whyTrigger = "not yet: what the function or trigger looks at may change"
	whyPlace   = "not yet: partitions are made with time"
	whyLogin   = "somebody must act: the login, or what it may do"
	whySchema  = "somebody must act: the database, its tables, or the channel's columns"
	whyServer  = "the server's trouble passes"
	whyOthers  = "others are at it, and end"
	whyLess    = "the server wants fewer connections"
)

// Codes says what each code of a database means: of PostgreSQL, of MySQL and MariaDB, or of
// SQLite, by the name of the dialect. What is not listed is transient.
func Codes(dialect string) []connectors.Meaning {
	var out []connectors.Meaning
	add := func(code string, m meaning) {
		out = append(out, connectors.Meaning{Code: code, Class: m.class, What: m.text, Why: m.why})
	}
	switch dialect {
	case postgresDialect:
		for code, m := range postgresStates() {
			add(code, m)
		}
	case mysqlDialect:
		for n, m := range mysqlNumbers() {
			add(strconv.Itoa(int(n)), m)
		}
		for state, m := range mysqlStates() {
			add("SQLSTATE "+state, m)
		}
	case sqliteDialect:
		for n, m := range sqliteCodes() {
			add(strconv.Itoa(n), m)
		}
	}
	slices.SortFunc(out, func(a, b connectors.Meaning) int {
		return cmp.Or(cmp.Compare(len(a.Code)/5, len(b.Code)/5), cmp.Compare(a.Code, b.Code))
	})
	return out
}
