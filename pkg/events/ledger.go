package events

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// ErrNoRecord says that the ledger knows nothing of a key.
var ErrNoRecord = errors.New("no record of this key")

// Ledger reads what became of the updates of each key. It is safe for concurrent
// use. Records follow the outcome log by up to about a second, under load by up
// to about 5 s.
type Ledger struct {
	kv    jetstream.KeyValue
	names Names
}

// OpenLedger returns the ledger of a provisioned broker.
func OpenLedger(ctx context.Context, js jetstream.JetStream, names Names) (*Ledger, error) {
	kv, err := js.KeyValue(ctx, names.LedgerBucket())
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		return nil, fmt.Errorf("%w: bucket %s is missing", ErrNotProvisioned, names.LedgerBucket())
	}
	if err != nil {
		return nil, fmt.Errorf("open the ledger: %w", unavailable(err))
	}
	return &Ledger{kv: kv, names: names}, nil
}

// Get returns the record of a key, or ErrNoRecord.
func (l *Ledger) Get(ctx context.Context, channel, key string) (Record, error) {
	enc, err := EncodeKey(key)
	if err != nil {
		return Record{}, err
	}
	r, _, err := l.GetEncoded(ctx, channel, enc)
	return r, err
}

// GetEncoded is Get for an encoded key. It returns the record's revision too.
func (l *Ledger) GetEncoded(ctx context.Context, channel, enc string) (Record, uint64, error) {
	if err := CheckChannel(channel); err != nil {
		return Record{}, 0, err
	}
	e, err := l.kv.Get(ctx, l.names.LedgerKey(channel, enc))
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return Record{}, 0, ErrNoRecord
	}
	if err != nil {
		return Record{}, 0, fmt.Errorf("read the ledger: %w", unavailable(err))
	}
	r, err := DecodeRecord(e.Value())
	return r, e.Revision(), err
}
