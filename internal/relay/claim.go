package relay

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/hms-utl/extsync/pkg/events"
)

// A row is what the outbox holds of an update.
type row struct {
	id                                      int64
	key, version, op, contentType, base, to string
	made                                    int64 // microseconds since 1970
	size                                    int64
	payload                                 []byte
	aside                                   int // 1: somebody has set it aside
}

// A querier is a transaction or a database.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// A claim is some rows of a target on their way to the broker. Its transaction holds the
// lock of the oldest row of each key in it, so that nobody else publishes newer ones before.
type claim struct {
	r      *Relay
	target string
	tx     *sql.Tx // nil where nobody else claims
	on     querier // tx, or the database

	order []string            // the keys of the window, by their oldest rows
	ids   map[string][]marked // the rows of each key in the window, oldest first

	until  time.Time // no row is taken after it
	early  bool      // and that is why there are no more
	sent   []row     // without their payloads
	bytes  int64
	broken error            // what the database said in the middle
	waits  error            // what the target has to wait for: no more is published
	busy   map[string]error // what keys have to wait for: no more of them is published

	gone  []int64 // to be removed
	aside []aside
	count map[Result]int
}

// A marked row is one of the window that may be claimed.
type marked struct {
	id, size int64 // the size is of what is read of its payload, in bytes
}

type aside struct {
	id   int64
	note string
}

// claim publishes some rows of a target and removes them. more says that it found as many
// as it takes; the error, why rows of the target have to wait.
func (r *Relay) claim(ctx context.Context, target string) (more bool, err error) {
	c := &claim{r: r, target: target, on: r.o.DB, ids: map[string][]marked{}, busy: map[string]error{}, count: map[Result]int{}}
	if err := c.look(ctx); err != nil || len(c.order) == 0 {
		return false, err
	}
	// A claim that has begun ends well when the process is to end.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), claimFor+finishFor)
	defer cancel()
	if r.sql.locks != "" {
		if err := c.begin(ctx); err != nil {
			return false, err
		}
		defer func() { _ = c.tx.Rollback() }() // after a commit it does nothing
	}
	c.publish(ctx)
	if err := c.finish(ctx); err != nil {
		return false, errors.Join(c.waits, c.broken, err) // it may fail for what was broken before
	}
	for what, n := range c.count {
		r.o.Observer.Relayed(target, what, n)
		r.holds.went(target)
	}
	if c.waits == nil && len(c.count) == 0 {
		for _, err := range c.busy {
			c.waits = err
		}
	}
	if err := errors.Join(c.waits, c.broken); err != nil {
		return false, err
	}
	return c.early || c.full(), nil
}

// full reports whether it has as many rows as it takes.
func (c *claim) full() bool { return len(c.sent) >= claimRows || c.bytes >= claimBytes }

// begin begins the transaction. The database ends it if nothing comes for a while: the
// process may be frozen, and others are to go on.
func (c *claim) begin(ctx context.Context) (err error) {
	if c.tx, err = c.r.o.DB.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelReadCommitted}); err != nil {
		return fmt.Errorf("begin a claim: %w", err)
	}
	c.on = c.tx
	if c.r.sql.begin == "" {
		return nil
	}
	if _, err := c.tx.ExecContext(ctx, c.r.sql.begin); err != nil {
		return errors.Join(fmt.Errorf("begin a claim: %w", err), c.tx.Rollback())
	}
	return nil
}

// look finds the oldest rows of the target.
func (c *claim) look(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeout(ctx, lookFor)
	defer cancel()
	rows, err := c.r.o.DB.QueryContext(ctx, c.r.sql.window(windowRows), c.target)
	if err != nil {
		return fmt.Errorf("look for rows: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var one marked
		var key string
		if err := rows.Scan(&one.id, &key, &one.size); err != nil {
			return fmt.Errorf("look for rows: %w", err)
		}
		if one.size > c.r.o.MaxPayload() {
			one.size = 0 // it is not read
		}
		if c.ids[key] == nil {
			c.order = append(c.order, key)
		}
		c.ids[key] = append(c.ids[key], one)
	}
	return rows.Err()
}

// publish publishes what it can claim, and notes what became of each row.
func (c *claim) publish(ctx context.Context) {
	publishing, cancel := context.WithTimeout(ctx, claimFor)
	defer cancel()
	c.until = time.Now().Add(takeFor)
	answered := 0
	for receipt, err := range c.r.o.Publisher.PublishAll(publishing, c.updates(ctx), inFlight) {
		c.settle(c.sent[answered], receipt, err)
		answered++
	}
}

// updates gives the updates of the rows that it claims. A row that makes none is set aside.
func (c *claim) updates(ctx context.Context) iter.Seq[events.Update] {
	return func(yield func(events.Update) bool) {
		for one := range c.rows(ctx) {
			if c.busy[one.key] != nil {
				continue
			}
			u, err := one.update(c.target, c.r.o.MaxPayload())
			if err != nil {
				c.setAside(one.id, err)
				continue
			}
			one.payload = nil
			c.sent = append(c.sent, one)
			c.bytes += one.size
			if !yield(u) || c.waits != nil || c.full() {
				return
			}
			if c.early = time.Now().After(c.until); c.early { // what was taken is answered in time
				return
			}
		}
	}
}

// rows gives the oldest row of each key that is free, and after so many of them those that
// follow them. What it has read is in memory: while an update is on its way no statement is.
func (c *claim) rows(ctx context.Context) iter.Seq[row] {
	return func(yield func(row) bool) {
		heads := make([]marked, len(c.order))
		keys := make(map[int64]string, len(c.order)) // by the oldest row
		for i, key := range c.order {
			heads[i] = c.ids[key][0]
			keys[heads[i].id] = key
		}
		for some := range portions(heads) {
			var followers []marked
			for _, one := range c.read(ctx, some, c.r.sql.locks) {
				followers = append(followers, c.ids[keys[one.id]][1:]...)
				if !yield(one) {
					return
				}
			}
			for some := range portions(followers) {
				for _, one := range c.read(ctx, some, "") {
					if !yield(one) {
						return
					}
				}
			}
			if c.broken != nil {
				return
			}
		}
	}
}

// portions cuts rows into portions that may lie in memory.
func portions(rows []marked) iter.Seq[[]int64] {
	return func(yield func([]int64) bool) {
		var ids []int64
		bytes := int64(0)
		for _, one := range rows {
			if len(ids) > 0 && (len(ids) == portionRows || bytes+one.size > claimBytes) {
				if !yield(ids) {
					return
				}
				ids, bytes = nil, 0
			}
			ids, bytes = append(ids, one.id), bytes+one.size
		}
		if len(ids) > 0 {
			yield(ids)
		}
	}
}

// read reads rows, but those that somebody has set aside. After an error there are none.
func (c *claim) read(ctx context.Context, ids []int64, locks string) []row {
	if c.broken != nil {
		return nil
	}
	out, err := c.query(ctx, ids, locks)
	if err != nil {
		c.broken = fmt.Errorf("read rows: %w", err)
		return nil
	}
	return out
}

func (c *claim) query(ctx context.Context, ids []int64, locks string) (out []row, err error) {
	text, args := c.r.sql.rows(ids, c.r.o.MaxPayload())
	rows, err := c.on.QueryContext(ctx, text+locks, args...)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var one row
		if err := rows.Scan(&one.id, &one.key, &one.version, &one.op, &one.contentType, &one.base, &one.to, &one.made, &one.size, &one.payload, &one.aside); err != nil {
			return nil, err
		}
		if one.aside == 0 {
			out = append(out, one)
		}
	}
	return out, rows.Err()
}

// finish removes what was published, and writes the notes.
func (c *claim) finish(ctx context.Context) (err error) {
	if c.tx == nil {
		if c.tx, err = c.r.o.DB.BeginTx(ctx, nil); err != nil {
			return fmt.Errorf("remove rows: %w", err)
		}
		defer func() { _ = c.tx.Rollback() }() // after a commit it does nothing
	}
	for some := range slices.Chunk(c.gone, portionRows) {
		text, args := c.r.sql.remove(some)
		if _, err := c.tx.ExecContext(ctx, text, args...); err != nil {
			return fmt.Errorf("remove rows: %w", err)
		}
	}
	for _, a := range c.aside {
		if _, err := c.tx.ExecContext(ctx, c.r.sql.setAside(), a.note, a.id); err != nil {
			return fmt.Errorf("set a row aside: %w", err)
		}
	}
	if err := c.tx.Commit(); err != nil {
		return fmt.Errorf("end a claim: %w", err)
	}
	for _, a := range c.aside {
		c.r.o.Logger.Error().Str("target", c.target).Int64("id", a.id).Str("note", a.note).Msg("a row of the outbox was set aside")
	}
	return nil
}
