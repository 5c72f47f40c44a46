package relay

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/outbox"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// A Source is what a query finds in a platform's database: a state, in which each entity has
// a row with its newest version. It is safe for concurrent use.
type Source struct {
	DB    *Database
	Query Query
	// Target is where rows go that do not say so: as the column target has it.
	Target string
}

// A StateRow is a row that a query has found.
type StateRow struct {
	Target string
	Update events.Update
	// Bad says why the row is no update; the update's fields are what could be read then.
	Bad error
	// Size is that of the payload, in bytes.
	Size int64
}

// The columns that a query may have; the first three it must have.
const (
	columnKey = iota
	columnVersion
	columnPayload
	columnOp
	columnTarget
	columnContentType
	columnBase
	columns
)

func columnNames() [columns]string {
	return [columns]string{"key", "version", "payload", "op", "target", "content_type", "base"}
}

// A shape is which columns a query has, as the database names them; "" for one that it has not.
type shape struct {
	names   [columns]string
	payload string // the type of the payload's column; "" if it is not known
}

// Check fails with ErrQuery if the query does not have the columns that it needs, or has
// others, and with the database's error if that cannot be asked.
func (s *Source) Check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, lookFor)
	defer cancel()
	_, err := s.shape(ctx)
	return err
}

// shape asks the database for the columns of the query.
func (s *Source) shape(ctx context.Context) (out shape, err error) {
	rows, err := s.DB.QueryContext(ctx, "SELECT * FROM (\n"+s.Query.text+"\n) AS q LIMIT 0", s.args(versioning.Version{})...)
	if err != nil {
		return out, fmt.Errorf("look at the query: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	types, err := rows.ColumnTypes()
	if err != nil {
		return out, fmt.Errorf("look at the query: %w", err)
	}
	known := columnNames()
	var problems []string
	for _, column := range types {
		name := column.Name()
		at := slices.Index(known[:], strings.ToLower(name))
		switch {
		case at < 0:
			problems = append(problems, fmt.Sprintf("there is no use for column %.80q", name))
			continue
		case out.names[at] != "":
			problems = append(problems, fmt.Sprintf("column %s is there twice", known[at]))
		case at == columnVersion:
			problems = append(problems, s.mistaken(column.DatabaseTypeName())...)
		case at == columnPayload:
			out.payload = column.DatabaseTypeName()
		}
		out.names[at] = name
	}
	for _, at := range []int{columnKey, columnVersion, columnPayload} {
		if out.names[at] == "" {
			problems = append(problems, fmt.Sprintf("column %s is missing", known[at]))
		}
	}
	if problems != nil {
		return out, fmt.Errorf("%w: %s; a query gives the columns %s, and may give %s (AS names a column)",
			ErrQuery, strings.Join(problems, ", "), strings.Join(known[:columnOp], ", "), strings.Join(known[columnOp:], ", "))
	}
	if s.Target == "" && out.names[columnTarget] == "" {
		return out, fmt.Errorf("%w: nothing says where its rows go: give the channel or topics/TOPIC (--relay-target), or a column target", ErrQuery)
	}
	return out, rows.Err()
}

// mistaken says that versions of a column's type cannot be what they are said to be: some
// databases compare numbers and times without a word, and find nothing.
func (s *Source) mistaken(column string) []string {
	column = strings.TrimPrefix(strings.ToUpper(column), "UNSIGNED ")
	switch {
	case s.Query.versions == versioning.Numbered && (strings.HasPrefix(column, "TIMESTAMP") || column == "DATETIME" || column == "DATE"):
		return []string{"column version is a time (--relay-versions time)"}
	case s.Query.versions == versioning.Timed && strings.Contains(column, "INT"):
		return []string{"column version is a number (--relay-versions number)"}
	}
	return nil
}

// args are the parameters of the query: the version after which it begins, or the beginning
// of all.
func (s *Source) args(after versioning.Version) []any {
	var arg any
	if n, ok := after.Int64(); ok || s.Query.versions == versioning.Numbered {
		arg = n
	} else {
		at, ok := after.AsTime()
		switch {
		case !ok && s.DB.Dialect == outbox.MySQL:
			at = time.Date(1000, time.January, 1, 0, 0, 0, 0, time.UTC) // the first that a DATETIME can be
		case !ok:
			at = time.Date(1, time.January, 1, 0, 0, 0, 0, time.UTC)
		}
		arg = at.Truncate(time.Microsecond) // earlier, if anything
		if s.DB.Dialect == outbox.SQLite {
			// As datetime() writes it. Before all of that second, whatever is behind it.
			arg = at.Format(time.DateTime)
		}
	}
	if s.DB.Dialect == outbox.Postgres {
		// What is known of a statement may not be so any more: the table is the platform's to change.
		return []any{pgx.QueryExecModeExec, arg}
	}
	return slices.Repeat([]any{arg}, s.Query.marks)
}

// Rows gives the rows whose version is after one, or all if that is zero, in the order of
// the query and one at a time. limit is how many bytes a payload may have; a longer one is
// not read. After an error nothing more comes.
func (s *Source) Rows(ctx context.Context, after versioning.Version, limit int64) iter.Seq2[StateRow, error] {
	return func(yield func(StateRow, error) bool) {
		if err := s.rows(ctx, after, limit, func(row StateRow) bool { return yield(row, nil) }); err != nil {
			yield(StateRow{}, err)
		}
	}
}

func (s *Source) rows(ctx context.Context, after versioning.Version, limit int64, use func(StateRow) bool) (err error) {
	is, err := s.shape(ctx)
	if err != nil {
		return err
	}
	// Who leaves before the end does not want to hear the rest, which the drivers would read.
	ctx, cancel := context.WithCancel(ctx)
	rows, err := s.DB.QueryContext(ctx, s.statement(is, limit), s.args(after)...)
	if err != nil {
		cancel()
		return fmt.Errorf("run the query: %w", err)
	}
	wanted := true
	defer func() {
		cancel()
		if closed := rows.Close(); err == nil && wanted {
			err = closed
		}
	}()
	var values [columns]any
	var size int64
	into := []any{&size}
	for i := range values {
		into = append(into, &values[i])
	}
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			return fmt.Errorf("read a row of the query: %w", err)
		}
		if wanted = use(s.row(&values, size, limit)); !wanted {
			return nil
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("run the query: %w", err)
	}
	return nil
}

// statement selects the columns of the query in their order, NULL for one that it does not
// have, after the size of the payload.
func (s *Source) statement(is shape, limit int64) string {
	size, quote := "octet_length(cast(%s AS text))", `"`
	switch {
	case s.DB.Dialect == outbox.MySQL:
		size, quote = "length(%s)", "`"
	case s.DB.Dialect == outbox.SQLite:
		size = "length(cast(%s AS blob))"
	case is.payload == "BYTEA":
		size = "octet_length(%s)"
	}
	var names [columns]string
	for i, name := range is.names {
		names[i] = "NULL"
		if name != "" {
			names[i] = "q." + quote + name + quote
		}
	}
	size = "coalesce(" + fmt.Sprintf(size, names[columnPayload]) + ", 0)"
	names[columnPayload] = "CASE WHEN " + size + " <= " + strconv.FormatInt(limit, 10) + " THEN " + names[columnPayload] + " END"
	return "SELECT " + size + ", " + strings.Join(names[:], ", ") + " FROM (\n" + s.Query.text + "\n) AS q"
}
