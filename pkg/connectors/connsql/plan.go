package connsql

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"
)

// planLife is how long a plan is used. Errors end it before; but a column that somebody
// has made narrower rounds without one.
const planLife = time.Minute

// A plan is how rows are written into the table as the catalog of the database describes
// it: one that is kept is not older than planLife.
type plan struct {
	made time.Time
	// fits turn a value of each of layout.values into what its column gets.
	fits []converter
	// payload is the room of the only value, in the modes that keep the payload whole.
	payload     room
	contentType string
	lossy       bool
	// keys turn the part of a key in each of layout.keys into a parameter.
	keys []keyer
	// keyMarks are placeholders of the parts of a key, cast to their columns' types.
	keyMarks []string
	sql      statements
}

// A keyer turns the part of a key that one column holds into a parameter. Its error says why
// the column cannot hold it as it is.
type keyer func(part string) (any, error)

// key returns the parameters of a key, in room if that is large enough.
func (p *plan) key(l layout, key string, room []any) ([]any, error) {
	if len(l.keys) == 1 { // as nearly always
		return p.part(room[:0], 0, key)
	}
	parts := l.split(key)
	if l.join(parts) != key {
		return nil, fmt.Errorf("it has not %d parts with %q between", len(l.keys), l.separator)
	}
	args := room[:0]
	for i, part := range parts {
		var err error
		if args, err = p.part(args, i, part); err != nil {
			return nil, err
		}
	}
	return args, nil
}

func (p *plan) part(args []any, i int, part string) ([]any, error) {
	if p.keys == nil {
		return args, nil
	}
	arg, err := p.keys[i](part)
	return append(args, arg), err
}

// errKeyColumn says that no key can be kept in a column.
var errKeyColumn = errors.New("a column cannot hold the key")

// integerKey takes an integer that is written as the database writes it.
func integerKey(part string) (any, error) {
	if n, err := strconv.ParseInt(part, 10, 64); err == nil && strconv.FormatInt(n, 10) == part {
		return n, nil
	}
	if n, err := strconv.ParseUint(part, 10, 64); err == nil && strconv.FormatUint(n, 10) == part {
		return n, nil
	}
	return nil, errors.New("its column holds integers as they are usually written only")
}

// fresh reports whether a plan may still be used.
func (p *plan) fresh() bool { return p != nil && time.Since(p.made) < planLife }

// latest returns a plan of the catalog as it is now, or was a second ago: somebody may have
// altered the table since the plan that is kept was made, and no error of the database tells.
func (c *connector) latest(ctx context.Context) (*plan, error) {
	now, last := time.Now().UnixNano(), c.reread.Load()
	if now-last >= int64(time.Second) && c.reread.CompareAndSwap(last, now) {
		c.db.forget()
	}
	return c.db.plan(ctx)
}

// content fits the payload, which is the only value of a row.
func (p *plan) content(v any) (any, error) {
	fitted, err := p.payload.fit(v, p.contentType)
	switch {
	case err == nil:
		return fitted, nil
	case p.lossy && errors.Is(err, errLossy):
		return v, nil
	default:
		return nil, &misfit{contentColumn, "it " + err.Error()}
	}
}

// plan makes one out of what is known of the columns.
func (l layout) plan(rooms func(column) room) *plan {
	p := &plan{made: time.Now(), lossy: l.lossy}
	for _, c := range l.values {
		r := rooms(c)
		p.fits = append(p.fits, r.fitter(c.typ, l.lossy))
		p.payload, p.contentType = r, c.typ
	}
	return p
}

// created is the type that a column has if the connector creates it.
func (c column) created() string {
	if c.typ == "" {
		return textType
	}
	return c.typ
}
