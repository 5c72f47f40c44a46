package transform

import (
	"context"
	"fmt"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/events"
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
	w := &wrapped{Sender: conn, transform: t, removes: c.Removes}
	if r, ok := conn.(reader); ok && r.Can().Reads {
		w.reader = r
	}
	return w, nil
}

// Inner returns the connector that Wrap was given.
func Inner(conn connectors.Sender) connectors.Sender {
	if w, ok := conn.(*wrapped); ok {
		return w.Sender
	}
	return conn
}

// A reader is a connector that may be able to tell what its target holds.
type reader interface {
	connectors.Reader
	Can() connectors.Capabilities
}

// wrapped is a connector behind a Transform.
type wrapped struct {
	connectors.Sender
	transform *Transform
	removes   bool
	reader    reader // nil: the target cannot be read
}

// Apply passes on what is to be sent, in order.
func (w *wrapped) Apply(ctx context.Context, attempts []connectors.Attempt) []connectors.Result {
	results := make([]connectors.Result, len(attempts))
	var p passed
	var unsure []int
	began := ctx.Err() == nil
	for i, a := range attempts {
		if err := ctx.Err(); err != nil && began {
			results[i] = connectors.Failed(connectors.Throttled, CodeWaits, err) // which spends no attempt
			continue
		}
		out, send, res := w.transform.Apply(ctx, a)
		results[i] = res
		switch {
		case send:
			p.add(i, out)
		case !w.removes || res.Code != events.CodeFiltered:
		case a.Held || a.Unsure && w.reader == nil:
			p.remove(i, a)
		case w.reader != nil: // the target knows best
			unsure = append(unsure, i)
		}
	}
	w.removeHeld(ctx, attempts, unsure, results, &p)
	if len(p.attempts) == 0 {
		return results
	}
	got := w.Sender.Apply(ctx, p.attempts)
	if len(got) != len(p.attempts) {
		return nil // which the engine takes for what it is: a connector that misbehaves
	}
	for i, res := range got {
		if p.removed[p.index[i]] && res.Class == connectors.OK {
			res.Code = events.CodeRemoved
		}
		results[p.index[i]] = res
	}
	return results
}

// passed are the attempts that the connector gets.
type passed struct {
	attempts []connectors.Attempt
	index    []int        // of each, among all
	removed  map[int]bool // by index
}

func (p *passed) add(i int, a connectors.Attempt) {
	p.attempts, p.index = append(p.attempts, a), append(p.index, i)
}

// remove has the key of an update deleted, under the update's version.
func (p *passed) remove(i int, a connectors.Attempt) {
	// Again: the target may hold the upsert of this very version, from before the filter was
	// what it is.
	a.Op, a.Payload, a.ContentType, a.Again = events.Delete, nil, "", true
	if p.removed == nil {
		p.removed = map[int]bool{}
	}
	p.removed[i] = true
	p.add(i, a)
}

// removeHeld asks the target about keys of which it may hold something, and has those
// deleted that it does. It would keep a mark of a key that it never had, otherwise.
func (w *wrapped) removeHeld(ctx context.Context, attempts []connectors.Attempt, unsure []int, results []connectors.Result, p *passed) {
	if len(unsure) == 0 {
		return
	}
	keys := make([]string, len(unsure))
	for i, at := range unsure {
		keys[i] = attempts[at].Key
	}
	held, err := w.reader.Read(ctx, keys)
	if err == nil && len(held) != len(keys) {
		err = fmt.Errorf("%w: it read %d of %d keys", errValues, len(held), len(keys))
	}
	for i, at := range unsure {
		switch {
		case err != nil:
			results[at] = connectors.Failed(connectors.ClassOf(err), CodeRead, fmt.Errorf("whether the target holds what does not pass the filter: %w", err))
		case held[i].Version.IsZero(), held[i].Op == events.Delete && !attempts[at].Unsure:
		default: // a mark of a delete that the ledger may not know is taken into it so
			p.remove(at, attempts[at])
		}
	}
}
