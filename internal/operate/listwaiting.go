package operate

import (
	"context"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// listAtOnce is how many keys of a stream are looked up in the ledger side by side.
const listAtOnce = 64

// stream adds the keys of which the newest message has no outcome. It returns the sequence with
// which the next page begins; 0 if this was the last one.
func (l *listing) stream(ctx context.Context, from uint64) (next uint64, err error) {
	q := wire.StreamQuery{Stream: wire.UpdateStream(l.c.Names, l.entry.Config.Route()), Subject: ">", From: from, Until: l.q.ends[0], HeadersOnly: true}
	var some []candidate
	for msg, err := range wire.ReadStream(ctx, l.c.JS, q) {
		if err != nil {
			return 0, err
		}
		if l.scanned >= listScan {
			next, err := l.waiting(ctx, some)
			if next == 0 {
				next = msg.Sequence
			}
			return next, err
		}
		l.scanned++
		if c, ok := l.candidate(msg); ok {
			some = append(some, c)
		}
		if len(some) == listAtOnce {
			if next, err := l.waiting(ctx, some); next > 0 || err != nil {
				return next, err
			}
			some = some[:0]
		}
	}
	return l.waiting(ctx, some)
}

// A candidate is the newest message of a key in a stream, which may have no outcome.
type candidate struct {
	msg     *jetstream.RawStreamMsg
	key     string // encoded
	version versioning.Version
}

// candidate reads a message of the stream, if the query may select its key.
func (l *listing) candidate(msg *jetstream.RawStreamMsg) (candidate, bool) {
	_, enc, ok := wire.SplitStoredUpdate(l.c.Names, msg.Subject)
	if !ok || !l.mayBegin(enc) {
		return candidate{}, false
	}
	version, err := versioning.Parse(msg.Header.Get(events.HeaderVersion))
	return candidate{msg: msg, key: enc, version: version}, err == nil // malformed ones are dead letters
}

// mayBegin reports whether a key in its encoded form may begin as the query says.
func (l *listing) mayBegin(enc string) bool {
	if l.q.Prefix == "" {
		return true
	}
	key, err := events.DecodeKey(enc)
	return err != nil || strings.HasPrefix(key, l.q.Prefix) // long ones are hashed
}

// waiting adds those of some keys whose newest message has no outcome. If the page is full before
// the last of them, it returns the sequence of the first that is left; else 0.
func (l *listing) waiting(ctx context.Context, some []candidate) (next uint64, err error) {
	keys := make([]wire.ChannelKey, len(some))
	for i := range some {
		keys[i] = wire.ChannelKey{Channel: l.q.Channel, Encoded: some[i].key}
	}
	records, err := l.records.GetMany(ctx, keys)
	if err != nil {
		return 0, err
	}
	for i := range some {
		if len(l.page.Entities) >= l.q.Limit {
			l.scanned -= len(some) - i
			return some[i].msg.Sequence, nil
		}
		l.one(&some[i], records[i])
	}
	return 0, nil
}

// one adds a key if its newest message has no outcome.
func (l *listing) one(c *candidate, rec wire.Record) {
	f := l.facts(c.key, rec)
	f.Head, f.Published = versioning.Tag{Version: c.version}, c.msg.Time
	if f.Newest() != f.Head || !f.Waits() {
		return
	}
	w := Whereabouts{Channel: l.q.Channel, Key: rec.Key, State: StateAbsent}
	if w.Key == "" {
		u, _ := wire.Decode(l.c.Names, c.msg.Subject, c.msg.Header, nil) // without the payload it is no update, but has a key
		w.Key = u.Key
	}
	if !l.entry.Config.Takes(w.Key) || !strings.HasPrefix(w.Key, l.q.Prefix) {
		return
	}
	w.describe(Copy{Version: c.version, Op: events.Op(c.msg.Header.Get(events.HeaderOp)), At: c.msg.Time}, rec)
	l.add(w, f)
}
