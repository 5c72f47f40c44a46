package wire

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/pkg/events"
)

// A HistoryEntry is an entry of the outcome log with where it comes from.
type HistoryEntry struct {
	Entry
	Worker      string `json:"worker"`
	Partition   int    `json:"partition"`
	LogSequence uint64 `json:"log_sequence"`
}

// A Timeline is what the outcome log says of one key.
type Timeline struct {
	// Entries are in the order of the log, newest first: outcomes, and failed
	// attempts as far as they were logged.
	Entries []HistoryEntry `json:"entries"`
	// Complete says that nothing older of the key is in the log. The log itself
	// goes back a limited time.
	Complete bool `json:"complete"`
	// Since is the time of the oldest record that was looked at; zero if none was.
	Since time.Time `json:"since,omitzero"`
}

const (
	// historyWindow is how many sequences of the log the first look covers; each
	// one after it covers historyGrowth times as many.
	historyWindow = 1000
	historyGrowth = 4
	// MaxHistory bounds the entries of a Timeline.
	MaxHistory = 10_000
)

// History reads the newest entries of a key from the outcome log, at most limit
// of them (1 to MaxHistory; other values count as MaxHistory). The log has no
// index by key: it is read backwards, in growing steps, until there are enough
// entries, or none are left, or ctx ends. When ctx ends the entries found so far
// are returned without an error, and Complete is false. A context without
// deadline gets 5 s.
func History(ctx context.Context, js jetstream.JetStream, names events.Names, channel, key string, limit int) (Timeline, error) {
	if err := events.CheckChannel(channel); err != nil {
		return Timeline{}, err
	}
	if _, err := events.EncodeKey(key); err != nil {
		return Timeline{}, err
	}
	mark, err := KeyMark(key)
	if err != nil {
		return Timeline{}, err
	}
	if limit < 1 || limit > MaxHistory {
		limit = MaxHistory
	}
	ctx, cancel := WithDefaultTimeout(ctx)
	defer cancel()
	stream, err := js.Stream(ctx, OutcomeStream(names))
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return Timeline{}, fmt.Errorf("%w: stream %s is missing", events.ErrNotProvisioned, OutcomeStream(names))
	}
	if err != nil {
		return Timeline{}, fmt.Errorf("history: %w", MarkUnavailable(err))
	}
	state := stream.CachedInfo().State
	h := historian{js: js, names: names, channel: channel, key: key, mark: mark, limit: limit}
	err = h.read(ctx, state.FirstSeq, state.LastSeq)
	if err != nil && ctx.Err() == nil {
		return Timeline{}, fmt.Errorf("history: %w", err)
	}
	return h.line, nil
}

// KeyMark returns the bytes that every group with an entry of the key contains,
// so that the others need not be decoded.
func KeyMark(key string) ([]byte, error) {
	quoted, err := json.Marshal(key)
	if err != nil {
		return nil, err
	}
	return append([]byte(`"key":`), quoted...), nil
}

type historian struct {
	js           jetstream.JetStream
	names        events.Names
	channel, key string
	mark         []byte
	limit        int
	line         Timeline
}

// read looks at the log from its end to its beginning, window by window.
func (h *historian) read(ctx context.Context, first, last uint64) error {
	for size := uint64(historyWindow); last >= first && last > 0; size *= historyGrowth {
		from := first
		if last-first >= size {
			from = last - size + 1
		}
		found, err := h.window(ctx, from, last)
		if err != nil {
			return err
		}
		// A window is read forwards; the timeline goes backwards.
		slices.Reverse(found)
		h.line.Entries = append(h.line.Entries, found...)
		if len(h.line.Entries) >= h.limit {
			h.line.Complete = len(h.line.Entries) == h.limit && from == first
			h.line.Entries = h.line.Entries[:h.limit]
			return nil
		}
		last = from - 1
	}
	h.line.Complete = true
	return nil
}

// window returns the key's entries in a part of the log, the newest of them if
// there are more than could be wanted.
func (h *historian) window(ctx context.Context, from, until uint64) ([]HistoryEntry, error) {
	var found []HistoryEntry
	var since time.Time
	most := h.limit - len(h.line.Entries) + 1 // one more shows that it is not all
	query := StreamQuery{Stream: OutcomeStream(h.names), Subject: OutcomesOf(h.names, h.channel), From: from, Until: until}
	for msg, err := range ReadStream(ctx, h.js, query) {
		if err != nil {
			return nil, err
		}
		if since.IsZero() {
			since = msg.Time
		}
		if !bytes.Contains(msg.Data, h.mark) {
			continue
		}
		group, err := DecodeGroup(msg.Data)
		if err != nil {
			return nil, err
		}
		for _, e := range group.Entries {
			if e.Key != h.key {
				continue
			}
			found = append(found, HistoryEntry{Entry: e, Worker: group.Worker, Partition: group.Partition, LogSequence: msg.Sequence})
		}
		if len(found) > 2*most {
			found = slices.Clone(found[len(found)-most:])
		}
	}
	if !since.IsZero() {
		h.line.Since = since
	}
	return found, nil
}
