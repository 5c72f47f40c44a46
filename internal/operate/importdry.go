package operate

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/transform"
	"github.com/hms-utl/extsync/pkg/versioning"
)

const (
	// drySize is how many lines a dry run asks the broker about together: as many as it
	// answers at once.
	drySize = wire.MostLast
	// dryHeaders is what the publisher keeps free of the broker's max_payload.
	dryHeaders = 512
)

// errFails says that the target would never get what a line says.
var errFails = errors.New("it would be stored and given up")

// A DryImport says what an import would do. Of the lines that it would store, the channel's
// filter would keep Filtered back, and Failing would be given up, because filter, mapping or
// render fail.
type DryImport struct {
	ImportSummary
	Filtered int64 `json:"filtered"`
	Failing  int64 `json:"failing"`
}

// TryImport reads and checks what Import would, and stores nothing. Reject is told of lines
// that would fail, too.
func (c *Client) TryImport(ctx context.Context, o ImportOptions) (DryImport, error) {
	out := DryImport{ImportSummary: ImportSummary{Offset: o.From, Line: o.Line}}
	d, err := c.dryRun(ctx, o.Route)
	if err != nil {
		return out, err
	}
	im := newImporter(o)
	im.names, im.publishAll, im.publish, im.answers = c.Names, d.publishAll, d.publish, c.answers
	im.setRefs = func(context.Context, string, string, events.Refs) error { return nil }
	err = errors.Join(im.run(ctx), o.Progress(im.sum))
	out = DryImport{im.sum, d.filtered, d.failing}
	out.Rejected, out.Stored = out.Rejected-d.failing, out.Stored+d.failing
	return out, err
}

// A dryRun stands in for a publisher that stores nothing. One goroutine has it.
type dryRun struct {
	*headReader
	transform *transform.Transform
	// heads are the newest versions of the keys that were asked for, with those of the lines
	// before.
	heads             map[string]versioning.Tag
	filtered, failing int64
}

func (c *Client) dryRun(ctx context.Context, r events.Route) (*dryRun, error) {
	reader, err := c.headReader(ctx, r)
	if err != nil {
		return nil, err
	}
	d := &dryRun{headReader: reader, heads: map[string]versioning.Tag{}}
	d.transform, err = transform.New(d.entry.Config.Transform())
	return d, err
}

func (d *dryRun) publish(ctx context.Context, u events.Update) (events.Receipt, error) {
	if err := d.ask(ctx, []events.Update{u}); err != nil {
		return events.Receipt{}, err
	}
	return d.judge(ctx, &u)
}

// publishAll is as events.Publisher.PublishAll.
func (d *dryRun) publishAll(ctx context.Context, updates iter.Seq[events.Update], _ int) iter.Seq2[events.Receipt, error] {
	return func(yield func(events.Receipt, error) bool) {
		var batch []events.Update
		flush := func() bool {
			err := d.ask(ctx, batch)
			for i := range batch {
				receipt := events.Receipt{}
				verr := err
				if err == nil {
					receipt, verr = d.judge(ctx, &batch[i])
				}
				if !yield(receipt, verr) {
					return false
				}
			}
			batch = batch[:0]
			return true
		}
		for u := range updates {
			if batch = append(batch, u); len(batch) == drySize && !flush() {
				return
			}
		}
		flush()
	}
}

// judge says what a publisher would of an update whose head was asked for.
func (d *dryRun) judge(ctx context.Context, u *events.Update) (events.Receipt, error) {
	msg, err := wire.Encode(d.c.Names, *u)
	if err != nil {
		return events.Receipt{}, err
	}
	if size, most := int64(msg.Size()-len(msg.Subject)), d.c.Conn.MaxPayload()-dryHeaders; size > most {
		return events.Receipt{}, fmt.Errorf("%w: %d bytes with headers, the broker takes %d (max_payload)", events.ErrTooLarge, size, most)
	}
	head := d.heads[u.Key]
	verdict, err := versioning.Guard(head, u.Tag(), u.Base)
	refused := events.HeadError{Channel: u.Channel, Topic: u.Topic, Key: u.Key, Refused: u.Tag(), Head: head, Base: u.Base}
	switch {
	case err != nil:
		return events.Receipt{}, fmt.Errorf("%w: %s, key %s: %w", events.ErrInvalidUpdate, d.route, u.Key, err)
	case verdict == versioning.Stale:
		refused.Reason = events.ErrStale
		return events.Receipt{}, &refused
	case verdict == versioning.Conflict:
		refused.Reason = events.ErrConflict
		return events.Receipt{}, &refused
	case verdict == versioning.Duplicate:
		return events.Receipt{Duplicate: true}, nil
	}
	d.heads[u.Key] = u.Tag()
	_, send, res := d.transform.Apply(ctx, connectors.Attempt{Update: *u, Digest: u.Digest(), Number: 1})
	switch {
	case ctx.Err() != nil:
		return events.Receipt{}, ctx.Err()
	case !send && res.Class == connectors.OK:
		d.filtered++
	case !send:
		d.failing++
		return events.Receipt{}, fmt.Errorf("%w: %w", errFails, res.Err)
	}
	return events.Receipt{}, nil
}

// ask finds the heads of those keys of some updates that are not known yet.
func (d *dryRun) ask(ctx context.Context, updates []events.Update) error {
	var keys []string
	asked := map[string]bool{}
	for i := range updates {
		key := updates[i].Key
		if _, known := d.heads[key]; !known && !asked[key] {
			asked[key] = true
			keys = append(keys, key)
		}
	}
	heads, err := d.read(ctx, keys)
	for i := range heads {
		d.heads[keys[i]] = heads[i].Tag
	}
	return err
}
