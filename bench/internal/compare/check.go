package compare

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // registers "pgx"
	"github.com/nats-io/nats.go/jetstream"
	_ "modernc.org/sqlite" // registers "sqlite"

	"github.com/hms-utl/extsync/internal/faults"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// awaitLedger waits until the ledger reflects what the outcome logs hold now, as
// the workers say themselves. Whether it does, check finds out.
func (b *bed) awaitLedger(ctx context.Context) error {
	progress, err := channels.OpenProgress(ctx, b.client.JS, b.client.Names)
	if err != nil {
		return err
	}
	log, err := b.client.JS.Stream(ctx, wire.OutcomeStream(b.client.Names))
	if err != nil {
		return err
	}
	for i := range b.s.channels {
		for p := range b.s.partitions {
			last, err := log.GetLastMsgForSubject(ctx, wire.Outcomes(b.client.Names, b.channelName(i), progress.Incarnation(), p))
			if errors.Is(err, jetstream.ErrMsgNotFound) {
				continue
			}
			if err != nil {
				return err
			}
			for {
				now, _, err := progress.Read(ctx, b.channelName(i), 1, p) // nobody changes the partitions
				if err != nil {
					return err
				}
				if now.LogSeq >= last.Sequence {
					break
				}
				if err := pause(ctx); err != nil {
					return fmt.Errorf("the ledger of channel %s reflects record %d of the log instead of %d: %w", b.channelName(i), now.LogSeq, last.Sequence, err)
				}
			}
		}
	}
	return nil
}

// check compares the target with what was published; of extsync it proves the
// guarantees over all that the target has seen, the log and the ledger. It
// returns when the last of the ledger's records was written.
func (b *bed) check(ctx context.Context) (complete time.Time, err error) {
	histories, err := b.histories(ctx)
	if err != nil {
		return complete, err
	}
	if b.s.workers > 0 {
		if err := b.readLedgers(ctx, histories); err != nil { // before a worker that ends could complete it
			return complete, err
		}
		if err := b.stopRunners(); err != nil {
			return complete, err
		}
	}
	for i, h := range histories {
		accepted := b.only(b.accepted[i])
		if b.s.workers == 0 {
			if err := sameState(h.History, accepted); err != nil {
				return complete, err
			}
			continue
		}
		log := faults.NewLogReader(b.client.JS, b.client.Names, b.channelName(i))
		if err := log.CatchUp(ctx); err != nil {
			return complete, err
		}
		outcomes := &faults.Outcomes{Records: log.Records, Ledger: h.ledger}
		for _, e := range log.Entries {
			if b.counts(e.Key) {
				outcomes.Entries = append(outcomes.Entries, e)
			}
		}
		if err := faults.Check(h.History, accepted, outcomes, b.s.mode); err != nil {
			return complete, fmt.Errorf("%w: %w", errWrong, err)
		}
		if h.complete.After(complete) {
			complete = h.complete
		}
	}
	return complete, nil
}

// only leaves out the keys that are not waited for.
func (b *bed) only(accepted []faults.Accepted) []faults.Accepted {
	if !b.s.partial {
		return accepted
	}
	return slices.DeleteFunc(slices.Clone(accepted), func(a faults.Accepted) bool { return !b.counts(a.Key) })
}

// sameState checks what can be asked of a loop without order: that the newest
// version of each key was delivered, and to a database that it is there.
func sameState(h faults.History, accepted []faults.Accepted) error {
	type version struct {
		key string
		versioning.Version
	}
	seen := map[version]bool{}
	for _, w := range h.Writes {
		seen[version{w.Key, w.Version}] = true
	}
	for _, a := range left(accepted, channels.Latest) {
		if !seen[version{a.Key, a.Version}] {
			return fmt.Errorf("%w: version %s of key %s is missing", errWrong, a.Version, a.Key)
		}
	}
	return nil
}

// A history is what a target has seen of one channel, and what the ledger says.
type history struct {
	faults.History
	ledger   map[string]wire.Record
	complete time.Time // when the last record was written
}

// histories returns what the target has seen, by channel. A database keeps the
// newest versions only, which are all there are in the cases that use one.
func (b *bed) histories(ctx context.Context) ([]*history, error) {
	out := make([]*history, b.s.channels)
	byName := map[string]*history{}
	for i := range out {
		out[i] = &history{History: faults.History{Held: map[string]versioning.Tag{}}}
		byName[b.channelName(i)] = out[i]
	}
	if b.s.target != toHTTP {
		return out, b.readTable(ctx, &out[0].History)
	}
	var calls []call
	if err := fetch(ctx, b.sinkAt+"/calls", &calls); err != nil {
		return nil, err
	}
	for _, c := range calls {
		h := byName[c.Channel]
		if !b.counts(c.Key) || h == nil {
			continue
		}
		h.Calls = append(h.Calls, faults.Call{Key: c.Key, Version: c.Version, From: c.From, To: c.To, Answer: "204"})
		if c.Applied {
			tag := versioning.Tag{Version: c.Version, Digest: c.Digest}
			h.Writes = append(h.Writes, faults.Write{Key: c.Key, Op: c.Op, At: c.To, Tag: tag})
			h.Held[c.Key] = tag
		}
	}
	for _, h := range out {
		slices.SortFunc(h.Calls, func(a, b faults.Call) int { return cmp.Compare(a.From, b.From) })
	}
	return out, nil
}

// readLedgers reads all of the ledger's records.
func (b *bed) readLedgers(ctx context.Context, to []*history) error {
	kv, err := b.client.JS.KeyValue(ctx, wire.LedgerBucket(b.client.Names))
	if err != nil {
		return err
	}
	for i, h := range to {
		if h.ledger, h.complete, err = b.readLedger(ctx, kv, b.channelName(i)); err != nil {
			return fmt.Errorf("read the ledger of channel %s: %w", b.channelName(i), err)
		}
	}
	return nil
}

func (b *bed) readLedger(ctx context.Context, kv jetstream.KeyValue, channel string) (_ map[string]wire.Record, complete time.Time, err error) {
	watch, err := kv.Watch(ctx, channel+".>", jetstream.IgnoreDeletes())
	if err != nil {
		return nil, complete, err
	}
	defer func() { err = errors.Join(err, watch.Stop()) }()
	out := map[string]wire.Record{}
	for {
		select {
		case <-ctx.Done():
			return nil, complete, ctx.Err()
		case entry := <-watch.Updates():
			if entry == nil { // that was all
				return out, complete, nil
			}
			rec, err := wire.DecodeRecord(entry.Value())
			if err != nil {
				return nil, complete, err
			}
			out[rec.Key] = rec
			if b.counts(rec.Key) && entry.Created().After(complete) {
				complete = entry.Created()
			}
		}
	}
}

func (b *bed) readTable(ctx context.Context, h *faults.History) (err error) {
	driver, digest := "pgx", "digest"
	if b.s.target == toSQLite {
		driver = toSQLite
	}
	if b.s.workers == 0 {
		digest = "''"
	}
	db, err := sql.Open(driver, b.database)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	found, err := db.QueryContext(ctx, "SELECT key, version, "+digest+" FROM copies")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, found.Close()) }()
	for found.Next() {
		var key, sum string
		var n int64
		if err := found.Scan(&key, &n, &sum); err != nil {
			return err
		}
		var tag versioning.Tag
		if tag.Version, err = versioning.Number(n); err != nil {
			return err
		}
		if err := tag.Digest.UnmarshalText([]byte(sum)); err != nil {
			return err
		}
		h.Held[key] = tag
		h.Writes = append(h.Writes, faults.Write{Key: key, Tag: tag})
	}
	return found.Err()
}
