package transform

import (
	"context"

	"github.com/hms-utl/extsync/pkg/connectors"
)

// Wrap returns a connector that filters, maps and renders what it is given and passes on
// the rest. With an empty configuration it is conn itself.
func Wrap(conn connectors.Sender, c Config) (connectors.Sender, error) {
	if c.empty() {
		return conn, nil
	}
	t, err := New(c)
	if err != nil {
		return nil, &connectors.Error{Class: connectors.Misconfigured, Code: "config", Err: err}
	}
	return &wrapped{Sender: conn, transform: t}, nil
}

// wrapped is a connector behind a Transform.
type wrapped struct {
	connectors.Sender
	transform *Transform
}

// Apply passes on what is to be sent, in order.
func (w *wrapped) Apply(ctx context.Context, attempts []connectors.Attempt) []connectors.Result {
	results := make([]connectors.Result, len(attempts))
	var passed []connectors.Attempt
	var index []int
	began := ctx.Err() == nil
	for i, a := range attempts {
		if err := ctx.Err(); err != nil && began {
			results[i] = connectors.Failed(connectors.Throttled, CodeWaits, err) // which spends no attempt
			continue
		}
		out, send, res := w.transform.Apply(ctx, a)
		if results[i] = res; send {
			passed, index = append(passed, out), append(index, i)
		}
	}
	if len(passed) == 0 {
		return results
	}
	got := w.Sender.Apply(ctx, passed)
	if len(got) != len(passed) {
		return nil // which the engine takes for what it is: a connector that misbehaves
	}
	for i, res := range got {
		results[index[i]] = res
	}
	return results
}
