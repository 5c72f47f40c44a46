package operate

import (
	"cmp"
	"context"
	"math"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/internal/standing"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// listAtOnce is how many keys are looked up side by side: those of the stream in the ledger, and
// those of the ledger in the stream.
const listAtOnce = 64

// A candidate is a key that may be listed.
type candidate struct {
	key      string // encoded
	sequence uint64 // of the message in which it was found
	inStream bool   // that is one of the stream, and not of the ledger
	rec      wire.Record
	head     *jetstream.RawStreamMsg // its newest message in the stream; nil: it has none, or it is not known
}

// read adds keys that a part of a stream tells of. find makes candidates of its messages, and look
// completes some of them at a time. It returns the sequence with which the next page begins; 0 if
// this was the last one.
func (l *listing) read(ctx context.Context, q wire.StreamQuery, find func(*jetstream.RawStreamMsg) (candidate, bool, error), look func(context.Context, []candidate) error) (next uint64, err error) {
	var some []candidate
	flush := func() (uint64, error) {
		if len(some) == 0 {
			return 0, nil
		}
		if err := look(ctx, some); err != nil {
			return 0, err
		}
		for i := range some {
			if len(l.page.Entities) >= l.q.Limit {
				l.scanned -= len(some) - i
				return some[i].sequence, nil
			}
			l.one(&some[i])
		}
		some = some[:0]
		return 0, nil
	}
	q.Until = cmp.Or(q.Until, math.MaxUint64) // what is replaced meanwhile is there once more
	for msg, err := range wire.ReadStream(ctx, l.c.JS, q) {
		if err != nil {
			return 0, err
		}
		if l.scanned >= listScan || len(l.page.Entities) >= l.q.Limit {
			next, err := flush()
			return cmp.Or(next, msg.Sequence), err
		}
		l.scanned++
		c, ok, err := find(msg)
		if err != nil {
			return 0, err
		}
		if ok {
			c.sequence = msg.Sequence
			some = append(some, c)
		}
		if len(some) == listAtOnce {
			if next, err := flush(); next > 0 || err != nil {
				return next, err
			}
		}
	}
	return flush()
}

// stream adds the keys of which the newest message has no outcome.
func (l *listing) stream(ctx context.Context, from uint64) (next uint64, err error) {
	name := wire.UpdateStream(l.c.Names, l.entry.Config.Route())
	l.end = from - 1
	each := func(msg *jetstream.RawStreamMsg) (candidate, bool, error) {
		_, enc, ok := wire.SplitStoredUpdate(l.c.Names, msg.Subject)
		l.end = msg.Sequence
		return candidate{key: enc, inStream: true, head: msg}, ok && l.mayBegin(enc), nil
	}
	return l.read(ctx, wire.StreamQuery{Stream: name, Subject: ">", From: from, Until: l.q.ends[0], HeadersOnly: true}, each, l.recorded)
}

// recorded looks the keys of the stream up in the ledger.
func (l *listing) recorded(ctx context.Context, some []candidate) error {
	keys := make([]wire.ChannelKey, len(some))
	for i := range some {
		keys[i] = wire.ChannelKey{Channel: l.q.Channel, Encoded: some[i].key}
	}
	records, err := l.records.GetMany(ctx, keys)
	for i := range records {
		some[i].rec = records[i]
	}
	return err
}

// ledger adds the keys that the stream has not listed.
func (l *listing) ledger(ctx context.Context, from uint64) (next uint64, err error) {
	names := l.c.Names
	each := func(msg *jetstream.RawStreamMsg) (candidate, bool, error) {
		c := candidate{key: wire.KeyOfSubject(msg.Subject)}
		if len(msg.Data) == 0 || !l.mayBegin(c.key) { // the mark of a removed record, or another key
			return c, false, nil
		}
		var err error
		if c.rec, err = wire.DecodeRecord(msg.Data); err != nil || !strings.HasPrefix(c.rec.Key, l.q.Prefix) {
			return c, false, err
		}
		f := l.facts(&c)
		if f.Newest().IsZero() {
			return c, false, nil
		}
		stands := standing.JudgeKey(f)
		return c, f.Waits() || l.q.selects(&stands), nil
	}
	q := wire.StreamQuery{Stream: wire.KVStream(wire.LedgerBucket(names)), Subject: wire.LedgerRecords(names, l.q.Channel), From: from, Until: l.q.ends[1]}
	return l.read(ctx, q, each, l.published)
}

// published looks the keys of the ledger up in the stream: a newer version may wait there.
func (l *listing) published(ctx context.Context, some []candidate) error {
	route := l.entry.Config.Route()
	subjects := make([]string, len(some))
	for i := range some {
		subjects[i] = wire.StoredUpdate(l.c.Names, route, some[i].key)
	}
	found, err := wire.ReadLastFromLeader(ctx, l.c.JS, wire.UpdateStream(l.c.Names, route), subjects)
	if wire.MeaningOf(err) == wire.NoStream { // which status and doctor say: nothing waits there
		return nil
	}
	for i := range found {
		if l.entry.Config.Takes(some[i].rec.Key) {
			some[i].head = found[i]
		}
	}
	return err
}

// mayBegin reports whether a key in its encoded form may begin as the query says.
func (l *listing) mayBegin(enc string) bool {
	if l.q.Prefix == "" {
		return true
	}
	key, err := events.DecodeKey(enc)
	return err != nil || strings.HasPrefix(key, l.q.Prefix) // long ones are hashed
}

// facts are what is known of a key.
func (l *listing) facts(c *candidate) standing.Facts {
	f := standing.Facts{Entry: l.entry, Record: c.rec, Held: l.held[wire.Partition(c.key, l.entry.Config.Partitions)]}
	if c.head == nil {
		return f
	}
	if version, err := versioning.Parse(c.head.Header.Get(events.HeaderVersion)); err == nil { // malformed ones are dead letters
		f.Head, f.Published = versioning.Tag{Version: version}, c.head.Time
	}
	return f
}

// one adds a key where it belongs: by the stream if its newest message there has no outcome, else by
// the ledger.
func (l *listing) one(c *candidate) {
	f := l.facts(c)
	waits := !f.Head.IsZero() && f.Newest() == f.Head && f.Waits()
	switch {
	case c.inStream && !waits:
		return
	case !c.inStream && waits && c.head.Sequence >= l.from && c.head.Sequence <= l.end:
		return // the stream has listed it
	case !waits:
		f.Head, f.Published = versioning.Tag{}, time.Time{} // the record says all
	}
	w := Whereabouts{Channel: l.q.Channel, Key: c.rec.Key, State: StateAbsent}
	if w.Key == "" && c.head != nil { // the ledger has no record of it
		u, _ := wire.Decode(l.c.Names, c.head.Subject, c.head.Header, nil) // without the payload it is no update, but has a key
		w.Key = u.Key
	}
	if c.inStream && !l.entry.Config.Takes(w.Key) || !strings.HasPrefix(w.Key, l.q.Prefix) {
		return
	}
	var head Copy
	if waits {
		head = Copy{Version: f.Head.Version, Op: events.Op(c.head.Header.Get(events.HeaderOp)), At: c.head.Time}
	}
	w.describe(head, c.rec)
	l.add(w, f)
}
