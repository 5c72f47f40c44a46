package connsql

import (
	"errors"
	"fmt"

	driver "modernc.org/sqlite"
	codes "modernc.org/sqlite/lib"

	"github.com/hms-utl/extsync/pkg/connectors"
)

// sqliteCodes maps a result code of SQLite, extended ones too, to its meaning.
// The extended code goes first, its low byte second. What is in neither is
// Transient.
func sqliteCodes() map[int]meaning {
	const (
		transient     = connectors.Transient
		permanent     = connectors.Permanent
		misconfigured = connectors.Misconfigured
		unready       = connectors.Unready
	)
	return map[int]meaning{
		codes.SQLITE_BUSY:      {class: transient, text: "the file is locked by somebody else", why: whyOthers, shared: true},
		codes.SQLITE_LOCKED:    {class: transient, text: "the table is locked", why: whyOthers, shared: true},
		codes.SQLITE_INTERRUPT: {class: transient, text: "the statement was interrupted", why: whyServer, shared: true},
		codes.SQLITE_NOMEM:     {class: transient, text: "there is no memory left", why: whyServer, shared: true},
		codes.SQLITE_IOERR:     {class: transient, text: "the disk met an error", why: whyServer, shared: true},
		codes.SQLITE_FULL:      {class: transient, text: "the disk is full", why: whyServer, shared: true},
		codes.SQLITE_PROTOCOL:  {class: transient, text: "the file is locked by somebody else", why: whyOthers, shared: true},
		codes.SQLITE_SCHEMA:    {class: transient, text: "the table was changed meanwhile", why: whyOthers, shared: true},
		codes.SQLITE_ABORT:     {class: transient, text: "the transaction was rolled back", why: whyOthers, shared: true},

		codes.SQLITE_CONSTRAINT:            {class: permanent, text: "a constraint refuses the row", why: whyNever},
		codes.SQLITE_CONSTRAINT_CHECK:      {class: permanent, text: "a check constraint refuses the row", why: whyNever},
		codes.SQLITE_CONSTRAINT_FOREIGNKEY: {class: unready, text: "a foreign key refuses the row", why: whyRow},
		codes.SQLITE_CONSTRAINT_NOTNULL:    {class: permanent, text: "a column must not be NULL", why: whyNever},
		codes.SQLITE_CONSTRAINT_UNIQUE:     {class: unready, text: "another row has the same unique value", why: whyTaken},
		codes.SQLITE_CONSTRAINT_PRIMARYKEY: {class: unready, text: "another row has the same unique value", why: whyTaken},
		codes.SQLITE_CONSTRAINT_ROWID:      {class: unready, text: "another row has the same unique value", why: whyTaken},
		codes.SQLITE_CONSTRAINT_TRIGGER:    {class: unready, text: "a trigger refuses the row", why: whyTrigger},
		codes.SQLITE_CONSTRAINT_DATATYPE:   {class: permanent, text: "a value does not fit its type", why: whyNever},
		codes.SQLITE_MISMATCH:              {class: permanent, text: "a value does not fit its type", why: whyNever},
		codes.SQLITE_TOOBIG:                {class: permanent, text: "a value or row is over a limit of the database", why: whyNever},
		codes.SQLITE_RANGE:                 {class: permanent, text: "a value is over a limit of the database", why: whyNever},
		// A function or an expression of a trigger failed: see errPrepare for what
		// this code means before a row is there.
		codes.SQLITE_ERROR: {class: permanent, text: "a function or trigger refuses the row", why: whyNever},

		codes.SQLITE_PERM:     {class: misconfigured, text: "a permission is missing", why: whyLogin, shared: true},
		codes.SQLITE_AUTH:     {class: misconfigured, text: "a permission is missing", why: whyLogin, shared: true},
		codes.SQLITE_READONLY: {class: misconfigured, text: "the file cannot be written to", why: whySchema, shared: true},
		codes.SQLITE_CANTOPEN: {class: misconfigured, text: "the file is missing or cannot be opened", why: whySchema, shared: true},
		codes.SQLITE_NOTADB:   {class: misconfigured, text: "the file is not a SQLite database", why: whySchema, shared: true},
		codes.SQLITE_CORRUPT:  {class: misconfigured, text: "the file is damaged", why: whySchema, shared: true},
		codes.SQLITE_NOLFS:    {class: misconfigured, text: "the file is too large for this system", why: whySchema, shared: true},
	}
}

// errNoTable says that the table of a statement is missing.
var errNoTable = errors.New("the table is missing")

func (s *sqlite) judge(err error) verdict { return judgeSQLite(err) }

// isSQLiteError reports whether an error has the code that stands for a mistake
// in a statement.
func isSQLiteError(err error) bool {
	var e *driver.Error
	return errors.As(err, &e) && e.Code() == codes.SQLITE_ERROR
}

func judgeSQLite(err error) verdict {
	var e *driver.Error
	if !errors.As(err, &e) {
		return judgeNetwork(err)
	}
	v := sqliteVerdict(e.Code())
	if errors.Is(err, errPrepare) && isSQLiteError(err) {
		v.class, v.shared = connectors.Misconfigured, true
		v.text = oneLine(e.Error()) // names a table or a column; no value is there yet
		v.noTable = errors.Is(err, errNoTable)
		return v
	}
	v.said = join(e.Error())
	return v
}

func sqliteVerdict(code int) verdict {
	known := sqliteCodes()
	m, ok := known[code]
	if !ok {
		m, ok = known[code&0xff]
	}
	if !ok {
		m = meaning{class: connectors.Transient, text: "SQLite answered with an error"}
	}
	return verdict{class: m.class, code: fmt.Sprintf("sqlite-%d", code), text: m.text, shared: m.shared}
}
