package connsql

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// A database is one dialect with its connections. It is safe for concurrent use.
type database interface {
	// write stores the rows that the guard lets through; on an error it has
	// stored none of them. again lets the very content of the very version that
	// is there be stored anew. all says that every row is known to be stored; if
	// it is false some may not be, and held tells which.
	write(ctx context.Context, rows []row, again bool) (all bool, err error)
	// statement is what write runs for the rows, at least one.
	statement(rows []row, again bool) (text string, args []any)
	// held returns what the table holds in the place of each row.
	held(ctx context.Context, rows []row) ([]holding, error)
	// read returns the newest that the table holds of each key.
	read(ctx context.Context, keys []string) ([]holding, error)
	// list returns the next keys of the table behind one of them.
	list(ctx context.Context, after string, limit int) ([]string, error)
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

// connector is the part that all dialects share: order, results, and what is
// done about an error.
type connector struct {
	db         database
	mapper     *mapper
	maxBatch   int
	autoCreate bool
	scrubber   *connectors.Scrubber
	// absentMeansTaken: where a row was not stored and is not there, another
	// row has the same value in a unique index. The other dialects say so.
	absentMeansTaken bool
}

// Compile-time checks of what the connector offers.
var (
	_ connectors.Connector = (*connector)(nil)
	_ connectors.Batcher   = (*connector)(nil)
	_ connectors.Prober    = (*connector)(nil)
	_ connectors.Reader    = (*connector)(nil)
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
	first := make([]row, 0, len(attempts))
	var again []row
	width := c.mapper.width()
	values := make([]any, len(attempts)*width)
	began := ctx.Err() == nil
	for i := range attempts {
		a := &attempts[i]
		if err := ctx.Err(); err != nil && began {
			// The columns of others took the call's time, so this spends no attempt.
			results[i] = connectors.Failed(connectors.Throttled, codeWaits, err)
			continue
		}
		r, err := c.mapper.row(ctx, a, values[i*width:(i+1)*width])
		if err != nil {
			results[i] = c.failed(ctx, c.mapper.judge(err))
			results[i].Unasked = ctx.Err() == nil
			continue
		}
		r.index = i
		if a.Again {
			again = append(again, r)
		} else {
			first = append(first, r)
		}
	}
	for _, group := range []struct {
		rows  []row
		again bool
	}{{first, false}, {again, true}} {
		slices.SortFunc(group.rows, func(a, b row) int { return cmp.Compare(a.key, b.key) })
		c.write(ctx, group.rows, group.again, results)
	}
	return results
}

// write stores the rows together. If the database refuses them for a reason that
// lies in a row, it tries smaller parts until the row that is to blame is alone.
func (c *connector) write(ctx context.Context, rows []row, again bool, results []connectors.Result) {
	if len(rows) == 0 {
		return
	}
	all, err := c.writeOrCreate(ctx, rows, again)
	if err == nil {
		c.report(ctx, rows, all, results)
		return
	}
	v := c.db.judge(err)
	if len(rows) == 1 || v.shared || ctx.Err() != nil {
		res := c.failed(ctx, v)
		for _, r := range rows {
			results[r.index] = res
		}
		return
	}
	size := (len(rows) + 1) / 2
	if v.waited {
		size = 1 // halving would wait for the same lock again and again
	}
	for part := range slices.Chunk(rows, size) {
		c.write(ctx, part, again, results)
	}
}

// writeOrCreate creates the table if it is missing and may be created.
func (c *connector) writeOrCreate(ctx context.Context, rows []row, again bool) (bool, error) {
	all, err := c.db.write(ctx, rows, again)
	if err == nil || !c.autoCreate || !c.db.judge(err).noTable {
		return all, err
	}
	// Two that create one table at the same time can make one of them fail
	// though the table is there then: the write has the last word.
	createErr := c.db.create(ctx)
	all, err = c.db.write(ctx, rows, again)
	if err != nil && createErr != nil {
		return false, createErr
	}
	return all, err
}

// report fills in the results of rows that the database has looked at. Where it
// may have kept some back, the table is asked what it holds: a row that was
// stored, now or before, finds itself there.
func (c *connector) report(ctx context.Context, rows []row, all bool, results []connectors.Result) {
	if all {
		for _, r := range rows {
			results[r.index] = connectors.Done()
		}
		return
	}
	there, err := c.db.held(ctx, rows)
	for i, r := range rows {
		if err != nil {
			results[r.index] = c.failed(ctx, c.db.judge(err))
		} else {
			results[r.index] = c.compare(r, there[i])
		}
	}
}

// compare says what a row came to by what the table holds in its place.
func (c *connector) compare(r row, there holding) connectors.Result {
	if there.there && there.IsZero() {
		return connectors.Failed(connectors.Conflict, "foreign",
			errors.New("the table holds a row of this key that the platform did not write"))
	}
	if !there.there && c.absentMeansTaken {
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

// Probe looks whether a write would be let through: it has the database plan
// one. A table that is missing is no error where it may be created.
func (c *connector) Probe(ctx context.Context) error {
	err := c.db.probe(ctx)
	if err == nil {
		return nil
	}
	v := c.db.judge(err)
	if v.noTable && c.autoCreate && ctx.Err() == nil {
		return nil
	}
	return c.explain(ctx, v)
}

// Read returns what the table holds of the keys.
func (c *connector) Read(ctx context.Context, keys []string) ([]connectors.Held, error) {
	out := make([]connectors.Held, 0, len(keys))
	for part := range slices.Chunk(keys, mostBatch) {
		there, err := c.db.read(ctx, part)
		if err != nil {
			v := c.db.judge(err)
			if v.noTable && c.autoCreate && ctx.Err() == nil {
				return make([]connectors.Held, len(keys)), nil
			}
			return nil, c.explain(ctx, v)
		}
		for _, h := range there {
			out = append(out, h.Held)
		}
	}
	return out, nil
}

// List returns the next keys of the table in the order of its index. A table that
// is missing, where it may be created, holds none.
func (c *connector) List(ctx context.Context, after string, limit int) ([]string, error) {
	keys, err := c.db.list(ctx, after, limit)
	if err == nil {
		return keys, nil
	}
	v := c.db.judge(err)
	if v.noTable && c.autoCreate && ctx.Err() == nil {
		return nil, nil
	}
	return nil, c.explain(ctx, v)
}

// Close closes the connections.
func (c *connector) Close(context.Context) error {
	return c.db.close()
}
