package channels

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/internal/wire"
)

// wholeEvery is how often a shelf reads its whole bucket: a broker that has lost its newest
// messages may hold others at sequences that were read, which a shelf notices mostly.
const wholeEvery = 30 * time.Second

// An entryReader returns what is stored under a key: a bucket does, and a shelf.
type entryReader interface {
	// Get fails with jetstream.ErrKeyNotFound.
	Get(ctx context.Context, key string) (jetstream.KeyValueEntry, error)
}

// A shelf has what a bucket held when it was refreshed last. To refresh it costs one question
// and what has changed since. It may be read by several, and not while it is refreshed.
type shelf struct {
	js     jetstream.JetStream
	bucket string

	created time.Time // the bucket's stream
	last    uint64    // sequence up to which it was read
	at      time.Time // when that was stored
	whole   time.Time // when all of it was read
	kept    map[string]kept
}

// kept is an entry on a shelf.
type kept struct {
	jetstream.KeyValueEntry // nil: nobody asks for the rest

	msg *jetstream.RawStreamMsg
}

func (k kept) Value() []byte      { return k.msg.Data }
func (k kept) Revision() uint64   { return k.msg.Sequence }
func (k kept) Created() time.Time { return k.msg.Time }

// Get returns what was there.
func (s *shelf) Get(_ context.Context, key string) (jetstream.KeyValueEntry, error) {
	k, ok := s.kept[key]
	if !ok {
		return nil, jetstream.ErrKeyNotFound
	}
	return k, nil
}

// refresh reads what has changed. After an error the shelf may have a part of it.
func (s *shelf) refresh(ctx context.Context) error {
	name := wire.KVStream(s.bucket)
	stream, err := s.js.Stream(ctx, name)
	if err != nil {
		return fmt.Errorf("read %s: %w", name, wire.MarkUnavailable(err))
	}
	info := stream.CachedInfo()
	goesOn, err := s.goesOn(ctx, info)
	if err != nil {
		return err
	}
	if !goesOn {
		s.kept, s.last, s.at, s.created, s.whole = map[string]kept{}, 0, time.Time{}, info.Created, time.Now()
	}
	if info.State.LastSeq == s.last {
		return nil
	}
	prefix := wire.KVSubject(s.bucket, "")
	// To the end, wherever that is then: what is replaced meanwhile is there once more.
	rest := wire.StreamQuery{Stream: name, Subject: prefix + ">", From: s.last + 1, Until: math.MaxUint64}
	for msg, err := range wire.ReadStream(ctx, s.js, rest) {
		if err != nil {
			return err
		}
		s.last, s.at = msg.Sequence, msg.Time
		key := strings.TrimPrefix(msg.Subject, prefix)
		if msg.Header.Get(kvOperation) != "" {
			delete(s.kept, key)
			continue
		}
		s.kept[key] = kept{msg: msg}
	}
	if info.State.LastSeq > s.last { // the newest were removed
		s.last, s.at = info.State.LastSeq, info.State.LastTime
	}
	return nil
}

// goesOn reports whether what is on the shelf was read of this stream, as far as that can be
// seen.
func (s *shelf) goesOn(ctx context.Context, info *jetstream.StreamInfo) (bool, error) {
	switch {
	case s.kept == nil, !info.Created.Equal(s.created), info.State.LastSeq < s.last, time.Since(s.whole) >= wholeEvery:
		return false, nil
	case s.last == 0:
		return true, nil
	case info.State.LastSeq == s.last:
		return info.State.LastTime.Equal(s.at), nil
	}
	msg, err := wire.ReadFromLeader(ctx, s.js, wire.KVStream(s.bucket), wire.MessageQuery{Sequence: s.last})
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return true, nil // it was replaced
	}
	if err != nil {
		return false, fmt.Errorf("read %s: %w", wire.KVStream(s.bucket), wire.MarkUnavailable(err))
	}
	return msg.Time.Equal(s.at), nil
}
