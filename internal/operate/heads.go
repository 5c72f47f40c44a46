package operate

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/hms-utl/extsync/internal/broker"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// headsAtOnce is how many questions about one key each are on their way at once.
const headsAtOnce = 64

// A headReader reads the newest versions of many keys of a route, as the guard of a publisher
// sees them. It is safe for concurrent use.
type headReader struct {
	c       *Client
	route   events.Route
	entry   channels.Entry // of a channel; that of a topic has no configuration but the mode
	ledger  *wire.Ledger
	stream  jetstream.Stream
	batches bool // one question may be about many keys: the connection is an administrator's
}

// A head is the newest version of a key; the zero head is that of one that the broker lacks.
type head struct {
	versioning.Tag
	Op events.Op // "" if only a ledger knows the version, and it did not come to the target
}

// headReader returns a reader. It fails with channels.ErrNotFound, or with what keeps the
// route from being published to.
func (c *Client) headReader(ctx context.Context, r events.Route) (*headReader, error) {
	h := &headReader{c: c, route: r}
	h.entry.Config.Mode = channels.Latest
	if r.Topic() == "" {
		entries, err := c.channels(ctx, r.Name())
		if err != nil {
			return nil, err
		}
		h.entry = entries[0]
	}
	var err error
	if !h.entry.Deleted.IsZero() {
		return nil, fmt.Errorf("%w: %s; restore it, or publish elsewhere", events.ErrChannelDeleted, r.Name())
	}
	if h.ledger, err = wire.OpenLedger(ctx, c.JS, c.Names); err != nil {
		return nil, err
	}
	if h.stream, err = c.JS.Stream(ctx, wire.UpdateStream(c.Names, r)); err != nil {
		return nil, err
	}
	// What crosses from one account to another has one answer.
	access, err := broker.ReadAccess(ctx, c.Conn)
	h.batches = err == nil && access.Publish.Has("$JS.API.>")
	return h, nil
}

// read returns the heads of some keys: as the stream has them, and where that does not say
// enough, the ledger. A key that cannot be one has the zero head.
func (h *headReader) read(ctx context.Context, keys []string) ([]head, error) {
	heads := make([]head, len(keys))
	encoded := make([]string, len(keys))
	var subjects []string
	var places []int // of the subjects in keys
	for i, key := range keys {
		enc, err := events.EncodeKey(key)
		if err != nil { // what is wrong with a key is said of its line
			continue
		}
		encoded[i] = enc
		subjects, places = append(subjects, wire.StoredUpdate(h.c.Names, h.route, enc)), append(places, i)
	}
	for from := 0; from < len(subjects); from += wire.MostLast {
		upto := min(from+wire.MostLast, len(subjects))
		last, err := h.last(ctx, subjects[from:upto])
		if err != nil {
			return nil, err
		}
		for i, msg := range last {
			if msg == nil {
				continue
			}
			if u, err := wire.Decode(h.c.Names, msg.Subject, msg.Header, msg.Data); err == nil {
				heads[places[from+i]] = head{u.Tag(), u.Op}
			}
		}
	}
	if h.route.Topic() != "" {
		return heads, nil
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(headsAtOnce)
	for i, enc := range encoded {
		if enc != "" && (heads[i].IsZero() || h.entry.Config.Mode != channels.Latest) {
			group.Go(func() error { return h.settled(ctx, enc, &heads[i]) })
		}
	}
	return heads, group.Wait()
}

// settled puts the newest version that the ledger knows into a head, if that is newer.
func (h *headReader) settled(ctx context.Context, enc string, into *head) error {
	rec, err := h.ledger.GetOf(ctx, h.entry.Config.Name, h.entry.ID, enc)
	if errors.Is(err, events.ErrNoRecord) {
		return nil
	}
	if err != nil {
		return err
	}
	newest := rec.Newest()
	if order, err := newest.Version.Compare(into.Version); into.IsZero() || err == nil && order > 0 {
		into.Tag, into.Op = newest, ""
		if rec.Applied.Tag == newest {
			into.Op = rec.Applied.Op
		}
	}
	return nil
}

// last returns the newest message on each subject, nil where there is none.
func (h *headReader) last(ctx context.Context, subjects []string) ([]*jetstream.RawStreamMsg, error) {
	if h.batches {
		return wire.ReadLastOf(ctx, h.c.JS, h.stream, subjects)
	}
	out := make([]*jetstream.RawStreamMsg, len(subjects))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(headsAtOnce)
	for i, subject := range subjects {
		group.Go(func() error {
			msg, err := wire.ReadLast(ctx, h.c.JS, h.stream, subject)
			if err == nil {
				out[i] = msg
			} else if !errors.Is(err, jetstream.ErrMsgNotFound) {
				return err
			}
			return nil
		})
	}
	return out, group.Wait()
}
