package wire

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/pkg/events"
)

// Ledger reads what became of the updates of each key. It is safe for concurrent
// use. Records follow the outcome log by up to about a second, under load by up
// to about 5 s. A record of a channel that had the same name before counts as none: a
// broker that was killed may bring it back.
type Ledger struct {
	kv    jetstream.KeyValue
	names events.Names
	api   string // prefix of the JetStream API
	ids   *channelIDs
}

// OpenLedger returns the ledger of a provisioned broker.
func OpenLedger(ctx context.Context, js jetstream.JetStream, names events.Names) (*Ledger, error) {
	kv, err := js.KeyValue(ctx, LedgerBucket(names))
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		return nil, fmt.Errorf("%w: bucket %s is missing", events.ErrNotProvisioned, LedgerBucket(names))
	}
	if err != nil {
		return nil, fmt.Errorf("open the ledger: %w", MarkUnavailable(err))
	}
	return &Ledger{kv: kv, names: names, api: apiPrefix(js.Options()), ids: &channelIDs{js: js, names: names}}, nil
}

// Get returns the record of a key, or ErrNoRecord.
func (l *Ledger) Get(ctx context.Context, channel, key string) (Record, error) {
	enc, err := events.EncodeKey(key)
	if err != nil {
		return Record{}, err
	}
	r, _, err := l.GetEncoded(ctx, channel, enc)
	return r, err
}

// GetEncoded is Get for an encoded key. It returns the revision of what lies in the
// bucket, too, also of what counts as no record.
func (l *Ledger) GetEncoded(ctx context.Context, channel, enc string) (Record, uint64, error) {
	s, err := l.read(ctx, channel, enc)
	if err != nil {
		return Record{}, s.Revision, err
	}
	ours, err := l.Owns(ctx, channel, s.ChannelID)
	if err == nil && !ours {
		err = events.ErrNoRecord
	}
	if err != nil {
		return Record{}, s.Revision, err
	}
	return s.Record, s.Revision, nil
}

// Owns reports whether what carries the id of a channel is of the one that has the name
// now.
func (l *Ledger) Owns(ctx context.Context, channel, id string) (bool, error) {
	ours, err := l.ids.owns(ctx, channel, id)
	if err != nil {
		return false, fmt.Errorf("read the id of channel %.80s: %w", channel, MarkUnavailable(err))
	}
	return ours, nil
}

// A StoredRecord is a record as it lies in the bucket: its revision there, and its size in
// bytes.
type StoredRecord struct {
	Record
	Revision uint64
	Size     int
}

// GetOf is GetEncoded for who knows the channel's id. With ErrNoRecord, too, it returns
// revision and size of what lies in the bucket.
func (l *Ledger) GetOf(ctx context.Context, channel, id, enc string) (StoredRecord, error) {
	s, err := l.read(ctx, channel, enc)
	if err == nil && s.ChannelID != id {
		return StoredRecord{Revision: s.Revision, Size: s.Size}, events.ErrNoRecord
	}
	return s, err
}

func (l *Ledger) read(ctx context.Context, channel, enc string) (StoredRecord, error) {
	if err := events.CheckChannel(channel); err != nil {
		return StoredRecord{}, err
	}
	e, err := l.kv.Get(ctx, LedgerKey(l.names, channel, enc))
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return StoredRecord{}, events.ErrNoRecord
	}
	if err != nil {
		return StoredRecord{}, fmt.Errorf("read the ledger: %w", MarkUnavailable(err))
	}
	r, err := DecodeRecord(e.Value())
	return StoredRecord{Record: r, Revision: e.Revision(), Size: len(e.Value())}, err
}

// Question returns a request for the record of a key, which the ledger's leader answers.
func (l *Ledger) Question(channel, enc string) *nats.Msg {
	bucket := LedgerBucket(l.names)
	// Neither a channel's name nor an encoded key has anything to escape.
	data := []byte(`{"last_by_subj":"` + LedgerSubject(l.names, channel, enc) + `"}`)
	return &nats.Msg{Subject: l.api + "STREAM.MSG.GET." + KVStream(bucket), Data: data}
}

// Answer reads the answer to a Question. It says ErrNoRecord of a record that is surely of
// another channel of the name.
func (l *Ledger) Answer(ctx context.Context, channel string, data []byte) (Record, error) {
	if len(data) == 0 {
		return Record{}, nats.ErrNoResponders
	}
	msg, err := decodeRead(data)
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return Record{}, events.ErrNoRecord
	case err != nil:
		return Record{}, err
	case len(msg.Data) == 0: // a tombstone
		return Record{}, events.ErrNoRecord
	}
	r, err := DecodeRecord(msg.Data)
	if err != nil {
		return Record{}, err
	}
	ours, err := l.ids.owns(ctx, channel, r.ChannelID)
	if err == nil && !ours {
		err = events.ErrNoRecord
	}
	return r, err
}
