package connsql

import (
	"context"
	"slices"

	"github.com/hms-utl/extsync/pkg/connectors"
)

// Probe looks whether a write would be let through: it has the database plan
// one. A table that is missing is no error where it may be created.
func (c *connector) Probe(ctx context.Context) error {
	err := c.db.probe(ctx)
	if err == nil {
		return nil
	}
	v := c.judge(err)
	if v.noTable && c.autoCreate && ctx.Err() == nil {
		return nil
	}
	return c.explain(ctx, v)
}

// Read returns what the table holds of the keys.
func (c *connector) Read(ctx context.Context, keys []string) ([]connectors.Held, error) {
	out := make([]connectors.Held, 0, len(keys))
	for part := range slices.Chunk(keys, mostBatch) {
		there, err := c.readPart(ctx, part)
		if err != nil {
			v := c.judge(err)
			if v.noTable && c.autoCreate && ctx.Err() == nil {
				return make([]connectors.Held, len(keys)), nil
			}
			return nil, c.explain(ctx, v)
		}
		for i, h := range there {
			if h.key != part[i] {
				h = holding{} // of another key
			}
			out = append(out, h.Held)
		}
	}
	return out, nil
}

func (c *connector) readPart(ctx context.Context, keys []string) ([]holding, error) {
	made, err := c.db.plan(ctx)
	if err != nil {
		return nil, err
	}
	there, err := c.db.read(ctx, made, keys)
	switch {
	case err == nil:
		return there, c.bury(ctx, made, there, func(i int) string { return keys[i] })
	case c.judge(err).class != connectors.Permanent || ctx.Err() != nil:
		return nil, err
	case len(keys) == 1:
		return []holding{{}}, nil // its columns cannot hold such a key
	}
	first, err := c.readPart(ctx, keys[:len(keys)/2])
	if err != nil {
		return nil, err
	}
	second, err := c.readPart(ctx, keys[len(keys)/2:])
	return append(first, second...), err
}

// List returns the next keys of the table in the order of its index. A table that
// is missing, where it may be created, holds none.
func (c *connector) List(ctx context.Context, after string, limit int) ([]string, error) {
	made, err := c.db.plan(ctx)
	if err == nil {
		var keys []string
		if keys, err = c.db.list(ctx, made, after, limit); err == nil {
			return keys, nil
		}
	}
	v := c.judge(err)
	if v.noTable && c.autoCreate && ctx.Err() == nil {
		return nil, nil
	}
	return nil, c.explain(ctx, v)
}

// Close closes the connections.
func (c *connector) Close(context.Context) error {
	return c.db.close()
}
