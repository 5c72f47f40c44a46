package connsql

import (
	"context"
	"encoding/hex"

	"github.com/hms-utl/extsync/pkg/connectors"
)

// Preview returns the statement that Apply would run for the attempt alone, with
// its parameters. Batches have the same statement with more of them.
func (c *connector) Preview(ctx context.Context, a connectors.Attempt) (connectors.Preview, error) {
	made := c.db.guess()
	r, err := c.mapper.row(ctx, made, &a, make([]any, c.mapper.width()))
	if err == nil {
		r.keys, err = c.keyOf(made, a.Key, nil)
	}
	if err != nil {
		return connectors.Preview{}, c.explain(ctx, c.mapper.judge(err))
	}
	text, args := c.db.statement(made, []row{r}, a.Again)
	for i, arg := range args {
		if v, ok := arg.([]byte); ok {
			args[i] = `\x` + hex.EncodeToString(v)
		}
	}
	return connectors.Preview{Statement: text, Parameters: args}, nil
}
