package connsql

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// A database is one dialect with its connections. It is safe for concurrent use.
type database interface {
	// write stores the rows that the guard lets through; on an error it has
	// stored none of them. again lets the very content of the very version that
	// is there be stored anew. all says that every row is known to be stored; if
	// it is false some may not be, and held tells which.
	write(ctx context.Context, made *plan, rows []row, again bool) (all bool, err error)
	// statement is what write runs for the rows, at least one.
	statement(made *plan, rows []row, again bool) (text string, args []any)
	// held returns what the table holds in the place of each row: its key tells whether
	// that is the row's own.
	held(ctx context.Context, made *plan, rows []row) ([]holding, error)
	// read returns the newest that the table holds of each key.
	read(ctx context.Context, made *plan, keys []string) ([]holding, error)
	// compare returns what the table holds of the rows' keys, and which of layout.values
	// hold something else than the rows. It is not for the mode append.
	compare(ctx context.Context, made *plan, rows []row) ([]comparison, error)
	// values returns the layout.values of the row of a key, nil if there is none.
	values(ctx context.Context, made *plan, r row) ([]any, error)
	// tombstones returns what the table of versions holds of each key, where there is one.
	tombstones(ctx context.Context, made *plan, keys []string) ([]holding, error)
	// list returns the next keys of the table behind one of them, "" for the first.
	list(ctx context.Context, made *plan, after string, limit int) ([]string, error)
	// plan returns how rows are written into the table as it is, guess how they would be
	// into one that the connector creates. forget has the next plan made anew.
	plan(ctx context.Context) (*plan, error)
	guess() *plan
	forget()
	// probe looks whether a write would be let through, and writes nothing.
	probe(ctx context.Context) error
	// create makes the table if it is missing.
	create(ctx context.Context) error
	// ddl is the statement that create runs.
	ddl() string
	// judge classifies an error of the other methods.
	judge(err error) verdict
	close() error
}

// errKey says that the columns of the key cannot hold one as it is written: two keys would
// be one row.
var errKey = errors.New("the column of the key cannot hold this key as it is")

// Codes of keys that are refused.
const (
	codeKey      = "key"
	codeOtherKey = "other_key"
)

// connector is the part that all dialects share: order, results, and what is
// done about an error.
type connector struct {
	db         database
	layout     layout
	mapper     *mapper
	maxBatch   int
	autoCreate bool
	scrubber   *connectors.Scrubber
	// absentMeansTaken: where a row was not stored and is not there, another
	// row has the same value in a unique index. The other dialects say so.
	absentMeansTaken bool
	// reread is when latest had the catalog read, in nanoseconds since 1970.
	reread atomic.Int64
}

// Compile-time checks of what the connector offers.
var (
	_ connectors.Connector = (*connector)(nil)
	_ connectors.Batcher   = (*connector)(nil)
	_ connectors.Prober    = (*connector)(nil)
	_ connectors.Reader    = (*connector)(nil)
	_ connectors.Comparer  = (*connector)(nil)
	_ connectors.Lister    = (*connector)(nil)
	_ connectors.Previewer = (*connector)(nil)
)

// MaxBatch returns the configuration's max_batch.
func (c *connector) MaxBatch() int { return c.maxBatch }

// Apply writes the attempts with one statement, or one more for those that are
// deliberate repetitions. Rows are written in the order of their keys, so that
// two batches cannot wait for each other's rows.
func (c *connector) Apply(ctx context.Context, attempts []connectors.Attempt) []connectors.Result {
	results := make([]connectors.Result, len(attempts))
	made, err := c.db.plan(ctx)
	if err != nil {
		res := c.failed(ctx, c.judge(err))
		for i := range results {
			results[i] = res
		}
		return results
	}
	first, again, misfits := c.rows(ctx, made, attempts, results)
	if misfits {
		if latest, err := c.latest(ctx); err == nil && latest != made {
			made = latest
			first, again, _ = c.rows(ctx, made, attempts, results)
		}
	}
	var met met
	for _, group := range []struct {
		rows  []row
		again bool
	}{{first, false}, {again, true}} {
		slices.SortFunc(group.rows, func(a, b row) int { return cmp.Compare(a.key, b.key) })
		c.write(ctx, made, group.rows, group.again, results, &met)
	}
	return results
}

// rows returns what the attempts write: those that are deliberate repetitions in again. It
// fills in the results of attempts that write nothing. misfits says that the catalog is why
// one of them does not.
func (c *connector) rows(ctx context.Context, made *plan, attempts []connectors.Attempt, results []connectors.Result) (first, again []row, misfits bool) {
	first = make([]row, 0, len(attempts))
	width := c.mapper.width()
	values := make([]any, len(attempts)*width)
	parts := len(made.keys)
	keys := make([]any, len(attempts)*parts)
	began := ctx.Err() == nil
	for i := range attempts {
		a := &attempts[i]
		if err := ctx.Err(); err != nil && began {
			// The columns of others took the call's time, so this spends no attempt.
			results[i] = connectors.Failed(connectors.Throttled, codeWaits, err)
			continue
		}
		r, err := c.mapper.row(ctx, made, a, values[i*width:(i+1)*width])
		if err == nil {
			r.keys, err = c.keyOf(made, a.Key, keys[i*parts:(i+1)*parts])
		}
		if err != nil {
			results[i] = c.failed(ctx, c.mapper.judge(err))
			results[i].Unasked = ctx.Err() == nil
			_, misfit := errors.AsType[*misfit](err)
			misfits = misfits || misfit || errors.Is(err, errKey)
			continue
		}
		r.index = i
		if a.Again {
			again = append(again, r)
		} else {
			first = append(first, r)
		}
	}
	return first, again, misfits
}

// keyOf returns the parameters of a key, or an error that wraps errKey.
func (c *connector) keyOf(made *plan, key string, room []any) ([]any, error) {
	keys, err := made.key(c.layout, key, room)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errKey, err)
	}
	return keys, nil
}

// judge classifies an error of the database, or of what was made of its catalog.
func (c *connector) judge(err error) verdict {
	if errors.Is(err, errKeyColumn) {
		return verdict{class: connectors.Misconfigured, code: "key_column", text: err.Error(), shared: true}
	}
	return c.db.judge(err)
}

// write stores the rows together. If the database refuses them for a reason that may
// lie in a row, it tries smaller parts until the row that is to blame is alone.
func (c *connector) write(ctx context.Context, made *plan, rows []row, again bool, results []connectors.Result, met *met) {
	if len(rows) == 0 {
		return
	}
	all, err := c.writeOrCreate(ctx, made, rows, again)
	if err == nil {
		met.through = true
		c.report(ctx, made, rows, all, results)
		return
	}
	v := c.judge(err)
	if v.class == connectors.Misconfigured || v.class == connectors.Permanent {
		c.db.forget() // somebody may have changed the table
		if changed, err := c.db.plan(ctx); err == nil && changed.sql.write != made.sql.write {
			c.write(ctx, changed, rows, again, results, met)
			return
		}
	}
	if c.layout.versions == "" && len(rows) == 1 && rows[0].op == events.Delete && v.notNull() {
		v.text += "; on_delete: delete would remove the row"
	}
	if len(rows) == 1 {
		met.refused++
	}
	size := (len(rows) + 1) / 2
	if v.waited {
		size = 1 // halving would wait for the same lock again and again
	}
	alone := len(rows) == 1
	for part := range slices.Chunk(rows, size) {
		if !alone && !met.everybody(v) && ctx.Err() == nil {
			c.write(ctx, made, part, again, results, met)
			continue
		}
		res := c.failed(ctx, v)
		for _, r := range part {
			results[r.index] = res
		}
	}
}

// writeOrCreate creates the table if it is missing and may be created.
func (c *connector) writeOrCreate(ctx context.Context, made *plan, rows []row, again bool) (bool, error) {
	all, err := c.db.write(ctx, made, rows, again)
	if err == nil || !c.autoCreate || !c.judge(err).noTable {
		return all, err
	}
	// Two that create one table at the same time can make one of them fail
	// though the table is there then: the write has the last word.
	createErr := c.db.create(ctx)
	all, err = c.db.write(ctx, made, rows, again)
	if err != nil && createErr != nil {
		return false, createErr
	}
	return all, err
}

// report fills in the results of rows that the database has looked at. Where it
// may have kept some back, the table is asked what it holds: a row that was
// stored, now or before, finds itself there.
func (c *connector) report(ctx context.Context, made *plan, rows []row, all bool, results []connectors.Result) {
	if all {
		for _, r := range rows {
			results[r.index] = connectors.Done()
		}
		return
	}
	there, err := c.held(ctx, made, rows)
	for i, r := range rows {
		if err != nil {
			results[r.index] = c.failed(ctx, c.judge(err))
		} else {
			results[r.index] = c.compare(r, there[i])
		}
	}
}

// held returns what is in the place of each row, a tombstone if the row is removed.
func (c *connector) held(ctx context.Context, made *plan, rows []row) ([]holding, error) {
	there, err := c.db.held(ctx, made, rows)
	if err != nil {
		return nil, err
	}
	return there, c.bury(ctx, made, there, func(i int) string { return rows[i].key })
}

// bury puts the tombstones of keys in the place of rows that are not there.
func (c *connector) bury(ctx context.Context, made *plan, there []holding, key func(i int) string) error {
	var keys []string
	var at []int
	for i, h := range there {
		if !h.there {
			keys, at = append(keys, key(i)), append(at, i)
		}
	}
	if len(keys) == 0 || c.layout.versions == "" {
		return nil
	}
	noted, err := c.db.tombstones(ctx, made, keys)
	if err != nil {
		return err
	}
	for i, h := range noted {
		there[at[i]].noted = h.Tag
		if h.there && h.Op == events.Delete && h.key == keys[i] {
			there[at[i]] = h
		}
	}
	return nil
}

// compare says what a row came to by what the table holds in its place.
func (c *connector) compare(r row, there holding) connectors.Result {
	switch {
	case there.there && there.key != r.key:
		return connectors.Failed(connectors.Permanent, codeOtherKey,
			fmt.Errorf("another key, %q, holds the row that the database takes for that of %q: the column of the key must tell them apart", there.key, r.key))
	case !there.there && there.form != "" && there.form != r.key:
		return connectors.Failed(connectors.Permanent, codeKey,
			fmt.Errorf("%w: it would be %q there", errKey, there.form))
	}
	if there.there && there.IsZero() {
		text := "the table holds a row of this key that the platform did not write"
		if there.unversioned && !c.layout.adopt {
			text += "; adopt: true takes rows over that have no version"
		}
		return connectors.Failed(connectors.Conflict, "foreign", errors.New(text))
	}
	if !there.there && c.absentMeansTaken && (c.layout.versions == "" || there.noted == r.tag) {
		return connectors.Failed(connectors.Unready, "1062", errors.New("another row has the same unique value"))
	}
	verdict, err := versioning.Guard(there.Tag, r.tag, versioning.Version{})
	res := connectors.Result{Held: there.Tag}
	switch verdict {
	case versioning.Duplicate:
		return connectors.Done()
	case versioning.Stale:
		res.Class, res.Code = connectors.Stale, "stale"
		res.Err = fmt.Errorf("the table holds version %s, which is newer", there.Version)
	case versioning.Conflict:
		res.Class, res.Code = connectors.Conflict, "conflict"
		res.Err = fmt.Errorf("the table holds version %s with another content", there.Version)
	case versioning.Newer:
		// Somebody changed the row between the two statements, or another row
		// stands in the way: neither is known to last.
		res.Class, res.Code, res.Held = connectors.Transient, "changed", versioning.Tag{}
		res.Err = errors.New("the row was not written although the table holds nothing newer")
	default:
		res.Class, res.Code = connectors.Conflict, "version-kind"
		res.Err = fmt.Errorf("the table holds a version of another kind: %w", err)
	}
	return res
}

// failed returns the result that a verdict stands for.
func (c *connector) failed(ctx context.Context, v verdict) connectors.Result {
	e := c.explain(ctx, v)
	res := connectors.Failed(e.Class, e.Code, e.Err)
	if ctx.Err() == nil {
		res.Response = connectors.Clip(c.scrubber.Text(v.said), connectors.MaxResponse)
	}
	if v.noTable {
		res.Response = connectors.Clip(c.db.ddl(), connectors.MaxResponse)
	}
	return res
}

// explain turns a verdict into an error for people, without secrets, in one
// line.
func (c *connector) explain(ctx context.Context, v verdict) *connectors.Error {
	if err := ctx.Err(); err != nil {
		return ended(err)
	}
	text := v.text
	switch {
	case v.noTable && c.autoCreate:
		text += "; creating it did not help, so run this: " + c.db.ddl()
	case v.noTable:
		text += "; set auto_create, or run this: " + c.db.ddl()
	}
	return &connectors.Error{Class: v.class, Code: v.code, Err: v.wrap(text)}
}
