package conns3

import (
	"bytes"
	"context"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/events"
)

// Probe lists what is in the way of a list of the bucket: the way to the store, the
// access key, the bucket.
func (c *connector) Probe(ctx context.Context) error {
	if _, res := c.client.list(ctx, place{prefix: c.names.prefix, most: 1}); res != nil {
		return asError(res)
	}
	return nil
}

// each calls f for the indices below n, as many at once as the channel's concurrency
// allows.
func (c *connector) each(ctx context.Context, n int, f func(ctx context.Context, i int) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(c.concurrency)
	for i := range n {
		group.Go(func() error {
			ctx, cancel := c.client.bounded(ctx)
			defer cancel()
			return f(ctx, i)
		})
	}
	return group.Wait()
}

// Read asks for each key.
func (c *connector) Read(ctx context.Context, keys []string) ([]connectors.Held, error) {
	out := make([]connectors.Held, len(keys))
	var absent atomic.Bool
	err := c.each(ctx, len(keys), func(ctx context.Context, i int) error {
		name, err := c.names.of(keys[i])
		if err != nil {
			return nil // the store has no such key
		}
		there, res := c.client.head(ctx, name)
		if res != nil {
			return asError(res)
		}
		if !there.there() {
			absent.Store(true)
		}
		out[i] = there.Held
		return nil
	})
	if err == nil && absent.Load() {
		err = c.Probe(ctx) // a bucket that is missing looks the same to HEAD
	}
	if err != nil {
		return nil, err
	}
	return out, nil
}

// served are the headers that the answer to a GET has as they were written.
func served() []string { return []string{"Cache-Control", "Content-Disposition", "Content-Language"} }

// Compare reads each object and compares content, content type and what else is served
// with it.
func (c *connector) Compare(ctx context.Context, attempts []connectors.Attempt) ([]connectors.Comparison, error) {
	out := make([]connectors.Comparison, len(attempts))
	err := c.each(ctx, len(attempts), func(ctx context.Context, i int) error {
		a := &attempts[i]
		o, unwritable := c.object(a)
		if o.name == "" {
			return nil
		}
		there, body, res := c.client.get(ctx, o.name, int64(len(o.body))+1)
		if res != nil {
			return asError(res)
		}
		out[i].Held = there.Held
		switch {
		case !there.there():
		case unwritable != nil: // what is there is something else
			out[i].Changed = []string{"content"}
		case there.Foreign != "":
			if o.header.Get(metaOp) == string(events.Delete) {
				out[i].Changed = []string{"content"}
			}
		default:
			out[i].Changed = changed(o, body, there.header)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// mostFetched is how much of an object is read to be shown, in bytes.
const mostFetched = 16 << 20

// Fetch shows the content that is there, and what is served with it, beside that of the
// attempt.
func (c *connector) Fetch(ctx context.Context, a connectors.Attempt) (connectors.Fetched, error) {
	ctx, cancel := c.client.bounded(ctx)
	defer cancel()
	o, unwritable := c.object(&a)
	var out connectors.Fetched
	if unwritable != nil {
		out.Unwritable = unwritable.Error()
	}
	if o.name == "" {
		return out, nil
	}
	there, body, res := c.client.get(ctx, o.name, mostFetched)
	if res != nil {
		return out, asError(res)
	}
	var ours, theirs []byte
	if unwritable == nil && a.Op != events.Delete {
		ours = o.body
	}
	if out.Held, out.There = there.Held, there.there(); out.There && there.Op != events.Delete {
		theirs = body
	}
	out.Parts = append(out.Parts, connectors.ContentPart(ours, theirs, !bytes.Equal(ours, theirs)))
	return out, nil
}

// changed names what of an object is not as it was written.
func changed(o object, body []byte, there http.Header) (names []string) {
	if !bytes.Equal(body, o.body) {
		names = append(names, "content")
	}
	for _, name := range slices.Concat([]string{"Content-Type", metaDigest, metaOp}, served()) {
		if want := o.header.Get(name); want != "" && there.Get(name) != want {
			names = append(names, strings.ToLower(name))
		}
	}
	return names
}
