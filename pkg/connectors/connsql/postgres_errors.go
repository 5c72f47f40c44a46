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
	why    string // it has this class
	shared bool   // see verdict
	raised bool   // see verdict
	waited bool
	// quote adds the server's own words, where they can show no value of a row.
	quote bool
}

// noPartition stands for a row that no partition takes. Its SQLSTATE is that of a check
// constraint, and only the server's function that raises it tells them apart.
const noPartition = "23514 (" + findPartition + ")"

const findPartition = "ExecFindPartition"

// postgresStates maps an SQLSTATE, or the two characters of its class, to its
// meaning. The whole state goes first. What is in neither list is Transient.
// PostgreSQL 15, appendix A.
func postgresStates() map[string]meaning {
	const (
		transient     = connectors.Transient
		throttled     = connectors.Throttled
		permanent     = connectors.Permanent
		misconfigured = connectors.Misconfigured
		unready       = connectors.Unready
	)
	return map[string]meaning{
		"08":        {class: transient, text: "the connection failed", why: whyServer, shared: true, quote: true},
		"0A":        {class: misconfigured, text: "the table does not support this statement", why: whySchema, shared: true, raised: true, quote: true},
		"21":        {class: transient, text: "one key is in the batch twice", why: "each row is tried alone"},
		"22":        {class: permanent, text: "a value does not fit its type", why: whyNever},
		"22021":     {class: permanent, text: "a text has characters that the database cannot hold", why: whyNever},
		"22P05":     {class: permanent, text: "a text has characters that the database cannot hold", why: whyNever},
		"23":        {class: permanent, text: "a constraint refuses the row", why: whyNever},
		"23502":     {class: permanent, text: "a column must not be NULL", why: whyNever},
		"23001":     {class: unready, text: "other rows refer to the row", why: whyRow},
		"23503":     {class: unready, text: "a foreign key refuses the row", why: whyRow},
		"23505":     {class: unready, text: "another row has the same unique value", why: whyTaken},
		"23514":     {class: permanent, text: "a check constraint refuses the row", why: whyNever},
		noPartition: {class: unready, text: "no partition of the table takes the row", why: whyPlace},
		"23P01":     {class: unready, text: "an exclusion constraint refuses the row", why: whyTaken},
		"25006":     {class: transient, text: "the server takes no writes", why: whyServer, shared: true},
		"26000":     {class: transient, text: "a pooler has lost the statement", why: whyServer, shared: true, quote: true},
		"28":        {class: misconfigured, text: "the login is refused", why: whyLogin, shared: true, quote: true},
		"3D000":     {class: misconfigured, text: "there is no such database", why: whySchema, shared: true, quote: true},
		"3F000":     {class: misconfigured, text: "there is no such schema", why: whySchema, shared: true, raised: true, quote: true},
		"38":        {class: permanent, text: "a function or trigger refuses the row", why: whyNever},
		"39":        {class: permanent, text: "a function or trigger refuses the row", why: whyNever},
		"40":        {class: transient, text: "the transaction was rolled back", why: whyOthers},
		"40001":     {class: transient, text: "the transaction met a concurrent one", why: whyOthers},
		"40P01":     {class: transient, text: "the transaction was in a deadlock", why: whyOthers},
		"42":        {class: misconfigured, text: "the table is not as it must be", why: whySchema, shared: true, raised: true, quote: true},
		"42501":     {class: misconfigured, text: "a permission is missing", why: whyLogin, shared: true, raised: true, quote: true},
		"42703":     {class: misconfigured, text: "a column is missing", why: whySchema, shared: true, raised: true, quote: true},
		"42P05":     {class: transient, text: "a pooler has mixed statements up", why: whyServer, shared: true, quote: true},
		"42P01":     {class: misconfigured, text: "the table is missing", why: whySchema, shared: true, raised: true, quote: true},
		"42P10":     {class: misconfigured, text: "the table has no primary key or unique index of the key column", why: whySchema, shared: true},
		"44":        {class: permanent, text: "a check option of a view refuses the row", why: whyNever},
		"53":        {class: transient, text: "the server is out of a resource", why: whyServer, shared: true, quote: true},
		"53300":     {class: throttled, text: "the server has too many connections", why: whyLess, shared: true},
		"53400":     {class: throttled, text: "a limit of the server is reached", why: whyLess, shared: true, quote: true},
		"54":        {class: permanent, text: "a value or row is over a limit of the server", why: whyNever},
		// A long value in an index has this code, and a server that takes no writes any more
		// until it is vacuumed.
		"54000": {class: unready, text: "a value is too long for an index, or the server takes no writes", why: "not yet: the server may be the reason"},
		"55000": {class: misconfigured, text: "the table cannot be written to", why: whySchema, shared: true, raised: true, quote: true},
		"55006": {class: transient, text: "an object is locked by somebody else", why: whyOthers},
		"55P03": {class: transient, text: "a row is locked by somebody else", why: whyOthers, waited: true},
		"57":    {class: transient, text: "the server ended the statement or the connection", why: whyServer, shared: true},
		"57014": {class: transient, text: "the statement took too long", why: whyOthers},
		"57P04": {class: misconfigured, text: "the database was dropped", why: whySchema, shared: true},
		"58":    {class: transient, text: "the server met an error of its system", why: whyServer, shared: true},
		"P0":    {class: permanent, text: "a function or trigger fails", why: whyNever},
		"P0001": {class: unready, text: "a function or trigger refuses the row", why: whyTrigger},
		"P0002": {class: unready, text: "a function or trigger finds no row", why: whyTrigger},
		"P0003": {class: unready, text: "a function or trigger finds too many rows", why: whyTrigger},
		"P0004": {class: unready, text: "a function or trigger refuses the row", why: whyTrigger},
		"XX":    {class: transient, text: "the server met an internal error", why: whyServer},
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
	code := e.Code
	if code == "23514" && e.Routine == findPartition {
		code = noPartition
	}
	m, ok := states[code]
	if !ok && len(e.Code) == 5 {
		m, ok = states[e.Code[:2]]
	}
	if !ok {
		m = meaning{class: connectors.Transient, text: "the server answered with an error"}
	}
	v := verdict{class: m.class, code: e.Code, text: m.text, shared: m.shared, raised: m.raised, waited: m.waited, noTable: e.Code == "42P01"}
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
