package auditlog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/events"
)

const (
	// pageScan bounds how many stored records a page looks at.
	pageScan = 2000
	// pageBytes bounds how much of the log a page looks at, but for its last portion, and
	// endBytes in how much of it the ends of acts are looked for: a record may have 256 KiB.
	pageBytes = 16 << 20
	endBytes  = 4 << 20
	// portion is how many are read at once, backwards.
	portion = 64
	// endWithin is among how many stored records behind the one of its beginning an act's end is
	// looked for.
	endWithin = 256
)

// ErrNotFound says that the log has no such record.
var ErrNotFound = errors.New("there is no such record in the audit log")

// An Entry is an act in the log.
type Entry struct {
	Record

	// Sequence is where its first record is stored.
	Sequence uint64
}

// A Query selects acts.
type Query struct {
	// Before is behind the last act that is looked at; 0: the newest.
	Before  uint64
	Limit   int
	Selects func(*Record) bool // nil: all
}

// Page returns acts, the newest first, of each the last record that there is, with the time when
// it was begun. An act that took so long that many others were recorded meanwhile may be told as
// Started although it has ended. next is Query.Before of the next page; 0: this was the last. A
// page may be short, and even empty, and still have a next one.
func (l *Log) Page(ctx context.Context, q Query) (acts []Entry, next uint64, err error) {
	state, err := l.state(ctx)
	if err != nil {
		return nil, 0, err
	}
	last := state.LastSeq
	if q.Before > 0 {
		last = min(last, q.Before-1)
	}
	ended, err := l.ends(ctx, last+1, state.LastSeq)
	if err != nil {
		return nil, 0, err
	}
	for looked, size := 0, 0; last >= max(state.FirstSeq, 1); {
		from := max(last-min(last, portion)+1, state.FirstSeq, 1)
		stored, bytes, err := l.read(ctx, from, last, math.MaxInt)
		if err != nil {
			return nil, 0, err
		}
		for _, e := range slices.Backward(stored) {
			if e.Result != Started {
				ended[e.ID] = e.Record
				continue
			}
			if end, ok := ended[e.ID]; ok {
				end.At = e.At
				e.Record = end
			}
			if q.Selects != nil && !q.Selects(&e.Record) {
				continue
			}
			if acts = append(acts, e); len(acts) == q.Limit {
				return acts, e.Sequence, nil
			}
		}
		last = from - 1
		looked, size = looked+len(stored), size+bytes
		if (looked >= pageScan || size >= pageBytes) && last >= state.FirstSeq {
			return acts, from, nil
		}
	}
	return acts, 0, nil
}

// Get returns the act whose first record is stored at a sequence and has an id, or ErrNotFound.
func (l *Log) Get(ctx context.Context, sequence uint64, id string) (Entry, error) {
	state, err := l.state(ctx)
	if err != nil {
		return Entry{}, err
	}
	found, _, err := l.read(ctx, sequence, sequence, math.MaxInt)
	if err != nil {
		return Entry{}, err
	}
	if len(found) == 0 || found[0].ID != id {
		return Entry{}, ErrNotFound
	}
	ended, err := l.ends(ctx, sequence+1, state.LastSeq)
	if end, ok := ended[id]; ok {
		end.At = found[0].At
		found[0].Record = end
	}
	return found[0], err
}

// Since returns the records that were stored behind a sequence, as they are, up to a few.
func (l *Log) Since(ctx context.Context, sequence uint64) ([]Entry, error) {
	found, _, err := l.read(ctx, sequence+1, sequence+endWithin, endBytes)
	return found, err
}

// Last returns the sequence of the newest record; 0 if there is none.
func (l *Log) Last(ctx context.Context) (uint64, error) {
	state, err := l.state(ctx)
	return state.LastSeq, err
}

func (l *Log) state(ctx context.Context) (jetstream.StreamState, error) {
	stream, err := l.js.Stream(ctx, wire.AuditStream(l.names))
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return jetstream.StreamState{}, fmt.Errorf("%w: stream %s is missing; apply the channels again", events.ErrNotProvisioned, wire.AuditStream(l.names))
	}
	if err != nil {
		return jetstream.StreamState{}, wire.MarkUnavailable(err)
	}
	return stream.CachedInfo().State, nil
}

// ends returns how acts have ended, by their ids, of which the end is stored at a sequence or soon
// behind it.
func (l *Log) ends(ctx context.Context, from, last uint64) (map[string]Record, error) {
	out := map[string]Record{}
	if from > last {
		return out, nil
	}
	stored, _, err := l.read(ctx, from, min(last, from+endWithin-1), endBytes)
	for _, e := range stored {
		if e.Result != Started {
			out[e.ID] = e.Record
		}
	}
	return out, err
}

// unreadable is the action of a record that cannot be read: it is told that it is there, and hides
// no other.
const unreadable = "unreadable"

// read returns the records that are stored at some sequences, until they have most bytes, and how
// many they have.
func (l *Log) read(ctx context.Context, from, until uint64, most int) (out []Entry, size int, err error) {
	q := wire.StreamQuery{Stream: wire.AuditStream(l.names), Subject: wire.AuditSubjects(l.names), From: max(from, 1), Until: until}
	for msg, err := range wire.ReadStream(ctx, l.js, q) {
		if err != nil {
			return nil, 0, err
		}
		e := Entry{Sequence: msg.Sequence}
		if err := json.Unmarshal(msg.Data, &e.Record); err != nil {
			e.Record = Record{ID: unreadable, At: msg.Time.UTC(), Action: unreadable, Result: Started, Error: "the record cannot be read"}
		}
		out = append(out, e)
		if size += len(msg.Data); size >= most {
			break
		}
	}
	return out, size, nil
}
