package connsql

import (
	"errors"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/hms-utl/extsync/pkg/connectors"
)

// meaning is what an error code of a database stands for.
type meaning struct {
	class  connectors.Class
	text   string
	shared bool // see verdict
	waited bool
	// quote adds the server's own words, where they can show no value of a row.
	quote bool
}

// postgresStates maps an SQLSTATE, or the two characters of its class, to its
// meaning. The whole state goes first. What is in neither list is Transient.
// PostgreSQL 15, appendix A.
func postgresStates() map[string]meaning {
	const (
		transient     = connectors.Transient
		throttled     = connectors.Throttled
		permanent     = connectors.Permanent
		misconfigured = connectors.Misconfigured
	)
	return map[string]meaning{
		"08":    {class: transient, text: "the connection failed", shared: true},
		"0A":    {class: misconfigured, text: "the table does not support this statement", shared: true, quote: true},
		"21":    {class: transient, text: "one key is in the batch twice"},
		"22":    {class: permanent, text: "a value does not fit its type"},
		"22021": {class: permanent, text: "a text has characters that the database cannot hold"},
		"22P05": {class: permanent, text: "a text has characters that the database cannot hold"},
		"23":    {class: permanent, text: "a constraint refuses the row"},
		"23502": {class: permanent, text: "a column must not be NULL"},
		"23503": {class: permanent, text: "a foreign key refuses the row"},
		"23505": {class: permanent, text: "another row has the same unique value"},
		"23514": {class: permanent, text: "a check constraint refuses the row"},
		"25006": {class: transient, text: "the server takes no writes", shared: true},
		"28":    {class: misconfigured, text: "the login is refused", shared: true, quote: true},
		"3D000": {class: misconfigured, text: "there is no such database", shared: true, quote: true},
		"3F000": {class: misconfigured, text: "there is no such schema", shared: true, quote: true},
		"38":    {class: permanent, text: "a function or trigger refuses the row"},
		"39":    {class: permanent, text: "a function or trigger refuses the row"},
		"40":    {class: transient, text: "the transaction was rolled back"},
		"40001": {class: transient, text: "the transaction met a concurrent one"},
		"40P01": {class: transient, text: "the transaction was in a deadlock"},
		"42":    {class: misconfigured, text: "the table is not as it must be", shared: true, quote: true},
		"42501": {class: misconfigured, text: "a permission is missing", shared: true, quote: true},
		"42703": {class: misconfigured, text: "a column is missing", shared: true, quote: true},
		"42P01": {class: misconfigured, text: "the table is missing", shared: true, quote: true},
		"42P10": {class: misconfigured, text: "the table has no primary key or unique index of the key column", shared: true},
		"44":    {class: permanent, text: "a check option of a view refuses the row"},
		"53":    {class: transient, text: "the server is out of a resource", shared: true, quote: true},
		"53300": {class: throttled, text: "the server has too many connections", shared: true},
		"53400": {class: throttled, text: "a limit of the server is reached", shared: true, quote: true},
		"54":    {class: permanent, text: "a value or row is over a limit of the server"},
		"55P03": {class: transient, text: "a row is locked by somebody else", waited: true},
		"57":    {class: transient, text: "the server ended the statement or the connection", shared: true},
		"57014": {class: transient, text: "the statement took too long"},
		"57P04": {class: misconfigured, text: "the database was dropped", shared: true},
		"58":    {class: transient, text: "the server met an error of its system", shared: true},
		"P0":    {class: permanent, text: "a function or trigger refuses the row"},
		"XX":    {class: transient, text: "the server met an internal error"},
	}
}

// judge classifies by the SQLSTATE. The verdict's text has the server's message only
// where meaning.quote allows it, and never its detail: both can repeat values of a
// row.
func (p *postgres) judge(err error) verdict {
	var server *pgconn.PgError
	switch {
	case errors.Is(err, errReadOnly):
		// The next connections may find the server that takes writes.
		p.pool.Reset()
		return verdict{class: connectors.Transient, code: "25006", text: errReadOnly.Error(), cause: nil, shared: true}
	case !errors.As(err, &server):
		return judgeNetwork(err)
	}
	if server.Code == "25006" {
		p.pool.Reset()
	}
	return postgresVerdict(server)
}

func postgresVerdict(e *pgconn.PgError) verdict {
	states := postgresStates()
	m, ok := states[e.Code]
	if !ok && len(e.Code) == 5 {
		m, ok = states[e.Code[:2]]
	}
	if !ok {
		m = meaning{class: connectors.Transient, text: "the server answered with an error"}
	}
	v := verdict{class: m.class, code: e.Code, text: m.text, shared: m.shared, waited: m.waited, noTable: e.Code == "42P01"}
	v.said = join(e.Message, e.Detail, e.Hint)
	if m.quote {
		v.text += ": " + oneLine(e.Message)
		v.said = join(e.Detail, e.Hint)
	}
	for _, name := range []struct{ what, name string }{
		{"table", e.TableName}, {"column", e.ColumnName}, {"constraint", e.ConstraintName},
	} {
		if name.name != "" {
			v.text += " (" + name.what + " " + oneLine(name.name) + ")"
		}
	}
	return v
}
