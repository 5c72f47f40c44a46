package operate

import (
	"context"
	"errors"
	"hash/maphash"
	"iter"
	"maps"
	"slices"

	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/internal/words"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/events"
)

// publishAll is publish.Publisher.PublishAll.
type publishAll func(context.Context, iter.Seq[events.Update], int) iter.Seq2[events.Receipt, error]

// repairInFlight is how many updates are on their way to the broker at once.
const repairInFlight = 256

// repair publishes updates that the broker lacks, and reports them.
func (m *comparing) repair(ctx context.Context, found []suspect, updates []events.Update) error {
	given := func(yield func(events.Update) bool) {
		for _, u := range updates {
			if !yield(u) {
				return
			}
		}
	}
	if len(updates) == 0 {
		return nil
	}
	at := 0
	for _, err := range m.publish(ctx, given, repairInFlight) {
		d := found[at].Disagreeing
		at++
		switch {
		case err == nil:
			d.Repaired = true
		case errors.Is(err, events.ErrStale): // somebody has published a newer one meanwhile
			m.sum.Agree++
			continue
		case errors.Is(err, events.ErrConflict), errors.Is(err, events.ErrInvalidUpdate), errors.Is(err, events.ErrTooLarge), errors.Is(err, events.ErrBusy):
			d.Note = words.Of(err)
		default: // it is no matter of this key
			return err
		}
		if err := m.report(d); err != nil {
			return err
		}
	}
	return nil
}

// gone looks for keys that the broker has and the platform has not.
func (m *comparing) gone(ctx context.Context) error {
	m.known.sort()
	for _, name := range slices.Sorted(maps.Keys(m.targets)) {
		heads := m.targets[name].heads
		if heads == nil {
			continue
		}
		g := &goneKeys{m: m, target: name, told: map[uint64]bool{}}
		if err := heads.keys(ctx, g.add); err != nil {
			return err
		}
		if err := g.flush(ctx); err != nil {
			return err
		}
	}
	return nil
}

// goneKeys are keys of a target that the platform does not have, if they are live.
type goneKeys struct {
	m      *comparing
	target string
	told   map[uint64]bool // of the hashes of those that came: one may come several times
	batch  []string
}

func (g *goneKeys) add(ctx context.Context, enc, key string) error {
	id := maphash.String(g.m.known.seed, enc)
	if g.m.known.has(place(g.target, enc)) || g.told[id] {
		return nil
	}
	g.told[id] = true
	if g.batch = append(g.batch, key); len(g.batch) < compareRows {
		return nil
	}
	return g.flush(ctx)
}

func (g *goneKeys) flush(ctx context.Context) error {
	heads, err := g.m.heads(ctx, len(g.batch), func(i int) (string, string) { return g.target, g.batch[i] })
	if err != nil {
		return err
	}
	for i, h := range heads {
		if h.IsZero() || h.Op == events.Delete {
			continue
		}
		s := suspect{Disagreeing: Disagreeing{Finding: CompareGone, Target: g.target, Key: g.batch[i], Broker: h.Version}}
		if err := g.m.suspect(s); err != nil {
			return err
		}
	}
	g.batch = g.batch[:0]
	g.m.o.Progress(g.m.sum)
	return nil
}

// keys calls each with the keys that the broker may have something live of, in both their
// forms: those of the stream, and of a channel those of the ledger, too. A key may come
// several times.
func (h *headReader) keys(ctx context.Context, each func(ctx context.Context, enc, key string) error) error {
	n := h.c.Names
	query := wire.StreamQuery{
		Stream: wire.UpdateStream(n, h.route), Subject: wire.StoredUpdates(n, h.route), HeadersOnly: true,
		Consumer: h.batches && h.entry.Config.Mode == channels.Latest, // the consumers of a work queue are its workers
	}
	for msg, err := range wire.ReadStream(ctx, h.c.JS, query) {
		if err != nil {
			return err
		}
		enc := wire.KeyOfSubject(msg.Subject)
		key, err := events.DecodeKey(enc)
		if err != nil { // the header has a long one
			key, err = events.DecodeHeaderKey(msg.Header.Get(events.HeaderSubject))
		}
		if err != nil || wire.IsReset(msg.Header) || msg.Header.Get(events.HeaderOp) == string(events.Delete) {
			continue // a newer one of a work queue comes as well
		}
		if err := each(ctx, enc, key); err != nil {
			return err
		}
	}
	if h.route.Topic() != "" {
		return nil
	}
	query = wire.StreamQuery{
		Stream: wire.KVStream(wire.LedgerBucket(n)), Subject: wire.LedgerRecords(n, h.route.Name()), Consumer: h.batches, Batch: auditPage,
	}
	for msg, err := range wire.ReadStream(ctx, h.c.JS, query) {
		if err != nil {
			return err
		}
		if len(msg.Data) == 0 { // the mark of a deleted record
			continue
		}
		d, err := wire.DecodeDelivery(msg.Data)
		if err != nil {
			return err
		}
		if d.ChannelID != h.entry.ID || d.Applied.Op == events.Delete {
			continue
		}
		if err := each(ctx, wire.KeyOfSubject(msg.Subject), d.Key); err != nil {
			return err
		}
	}
	return nil
}
