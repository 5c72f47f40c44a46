package deadletters

import (
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// State says whether there is something to do about a letter.
type State string

// The states. They follow from the ledger when a letter is read; a record of the
// ledger may be a second behind, under load 3 s.
const (
	// StateOpen: the ledger names the letter. It can be sent again or discarded.
	StateOpen State = "open"
	// StatePending: the letter is stored, its outcome is not in the ledger yet. A worker
	// is about to commit it; or was killed, and the update comes again.
	StatePending State = "pending"
	// StateResolved: the update was delivered or superseded since, a newer version of
	// the key was delivered, a later letter holds the same update, or it has Ended.
	StateResolved State = "resolved"
)

// An Entry is a dead letter: an update, and why it was given up. What a letter
// does not say, or says in a way that cannot be read, is zero.
type Entry struct {
	// Sequence identifies the letter. Letters are stored in its order.
	Sequence uint64    `json:"sequence"`
	Stored   time.Time `json:"stored"`

	State State `json:"state"`
	// By is the version that settled a resolved letter: a newer one, or its own.
	// Zero if a later letter holds the same update, or if Ended.
	By versioning.Version `json:"by,omitzero"`
	// Ended says of a resolved letter that it was discarded, or that its key was reset
	// or its channel removed since: a broker that was killed has brought it back.
	Ended bool `json:"ended,omitempty"`

	Channel string `json:"channel"`
	// Key is "" if it cannot be read; EncodedKey is there in any case.
	Key        string             `json:"key"`
	EncodedKey string             `json:"encoded_key"`
	Version    versioning.Version `json:"version,omitzero"`
	ID         string             `json:"id,omitempty"`
	Op         events.Op          `json:"op,omitempty"`
	// Malformed says why the update cannot be read; "" if it can. The ledger knows
	// nothing of malformed updates: their letters stay open until discarded.
	Malformed string `json:"malformed,omitempty"`

	Outcome events.Outcome `json:"outcome,omitempty"` // DeadLettered or Conflict
	Reason  string         `json:"reason,omitempty"`
	Class   string         `json:"class,omitempty"`
	Code    string         `json:"code,omitempty"`
	// Response is the beginning of what the target answered at the last attempt, in
	// one line; "" if it did not answer, or was not asked.
	Response string    `json:"response,omitempty"`
	Attempts int       `json:"attempts,omitempty"` // that counted against the update
	First    time.Time `json:"first_attempt,omitzero"`
	Last     time.Time `json:"last_attempt,omitzero"` // when it was given up
	Worker   string    `json:"worker,omitempty"`
	// UpdateSequence is the update's sequence in its channel's stream.
	UpdateSequence uint64 `json:"update_sequence,omitempty"`
	PayloadSize    int    `json:"payload_size"` // in bytes

	// Update is the whole update, as far as it can be read, and Header what it had
	// for headers. Only Get fills them in.
	Update events.Update `json:"-"`
	Header nats.Header   `json:"-"`
}

// A letter is an entry with what it takes to judge it or to send it again.
type letter struct {
	Entry
	subject string
	header  nats.Header
	whole   bool        // Update has its payload
	rec     wire.Record // of the key; of a scan only
	lasting bool        // it is resolved, and the ledger will always say so
}

// ofUpdate reports whether a letter has a header from its update; the others say
// why it was given up, or speak to the broker.
func ofUpdate(header string) bool {
	return !strings.HasPrefix(header, "Extsync-Dead-") && !strings.HasPrefix(header, "Nats-") && header != wire.HeaderChannelID
}

// decode reads a letter without its payload. It never fails: a letter of
// whatever cannot be read must still be seen and be discarded.
func decode(names events.Names, msg *jetstream.RawStreamMsg) letter {
	h := msg.Header
	channel, enc, _ := wire.SplitDead(names, msg.Subject)
	l := letter{subject: msg.Subject, header: h, Entry: Entry{
		Sequence: msg.Sequence, Stored: msg.Time.UTC(), Channel: channel, EncodedKey: enc,
		Outcome:        events.Outcome(h.Get(wire.HeaderDeadOutcome)),
		Reason:         h.Get(wire.HeaderDeadReason),
		Class:          h.Get(wire.HeaderDeadClass),
		Code:           h.Get(wire.HeaderDeadCode),
		Response:       h.Get(wire.HeaderDeadResponse),
		Worker:         h.Get(wire.HeaderDeadWorker),
		Attempts:       int(number(h.Get(wire.HeaderDeadAttempts), 31)),
		UpdateSequence: number(h.Get(wire.HeaderDeadSequence), 64),
		First:          timeOf(h.Get(wire.HeaderDeadFirst)),
		Last:           timeOf(h.Get(wire.HeaderDeadLast)),
		PayloadSize:    wire.PayloadSize(h),
	}}
	u, err := wire.Decode(names, wire.StoredUpdate(names, events.ToChannel(channel), enc), h, nil)
	if err != nil {
		l.Malformed = err.Error()
	}
	l.Update = u
	l.Key, l.Version, l.ID, l.Op = u.Key, u.Version, u.ID, u.Op
	return l
}

// complete adds the payload.
func (l *letter) complete(payload []byte) {
	l.whole = true
	l.PayloadSize = len(payload)
	l.Update.Payload = payload
	l.Header = nats.Header{}
	for name, values := range l.header {
		if ofUpdate(name) {
			l.Header[name] = values
		}
	}
}

// entry returns what a list shows.
func (l *letter) entry() Entry {
	e := l.Entry
	e.Update, e.Header = events.Update{}, nil
	return e
}

func number(s string, bits int) uint64 {
	n, err := strconv.ParseUint(s, 10, bits)
	if err != nil {
		return 0
	}
	return n
}

func timeOf(s string) time.Time {
	at, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return time.Time{}
	}
	return at
}
