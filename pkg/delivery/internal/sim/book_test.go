package sim_test

import (
	"fmt"
	"maps"
	"strings"
	"sync"

	"github.com/nats-io/nats.go"

	"github.com/hms-utl/extsync/internal/faults"
	"github.com/hms-utl/extsync/pkg/delivery/internal/sim"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// A book has everything that the broker has stored, as it was stored, and what must not
// have been at that moment: what is told before it is so, and what leaves before it is
// known elsewhere. At the end of a history neither may show.
type book struct {
	w *world

	mu      sync.Mutex
	log     faults.Outcomes
	ledger  map[string]events.Record
	settled map[id]events.Outcome // first final outcomes
	ended   map[uint64]bool       // sequences of messages that have one
	parked  map[string]bool       // ids of messages that are, or were, parked
	known   map[string][]versioning.Tag
	wrong   error // the first
}

func (b *book) open(w *world) {
	b.w = w
	b.clear()
	w.broker.Stored, w.broker.Acked = b.stored, b.acked
}

func (b *book) clear() {
	b.log, b.ledger = faults.Outcomes{}, map[string]events.Record{}
	b.settled, b.ended, b.parked = map[id]events.Outcome{}, map[uint64]bool{}, map[string]bool{}
	b.known = map[string][]versioning.Tag{}
}

// read begins the book anew, with what a broker holds that was put back.
func (b *book) read() {
	b.mu.Lock()
	b.clear()
	b.mu.Unlock()
	n := b.w.names
	for _, stream := range []string{n.OutcomeStream(), events.KVStream(n.LedgerBucket()), n.ParkedStream()} {
		for _, m := range b.w.broker.MessagesAfter(stream, 0) {
			b.stored(stream, m)
		}
	}
}

// outcomes returns what log and ledger say now.
func (b *book) outcomes() faults.Outcomes {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := b.log
	out.Ledger, out.Records = maps.Clone(b.ledger), make(map[string]*events.Record, len(b.log.Records))
	for key, rec := range b.log.Records {
		copied := *rec
		out.Records[key] = &copied
	}
	return out
}

// found notes what is wrong.
func (b *book) found(format string, args ...any) {
	err := fmt.Errorf(format, args...)
	b.w.note("%v", err)
	if b.wrong == nil {
		b.wrong = err
	}
}

func (b *book) err() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.wrong
}

func (b *book) stored(stream string, m sim.Stored) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := b.w.names
	var err error
	switch {
	case stream == n.OutcomeStream():
		err = b.logged(m)
	case stream == events.KVStream(n.LedgerBucket()):
		var rec events.Record
		if rec, err = events.DecodeRecord(m.Data); err == nil {
			b.ledger[rec.Key] = rec
			for _, tag := range b.known[rec.Key] {
				b.w.witness.hear(rec, tag)
			}
		}
	case stream == n.UpdateStream(channel):
		if u, err := events.Decode(n, m.Subject, header(m), m.Data); err == nil && strings.HasPrefix(u.Key, ordinary) {
			b.known[u.Key] = append(b.known[u.Key], u.Tag())
		}
	case stream == n.ParkedStream():
		b.parked[m.Value("Extsync-Parked-Sequence")] = true
	case stream == n.AckStream():
		err = b.told(m)
	}
	if err != nil {
		b.found("the broker was given what cannot be read: %w", err)
	}
}

func (b *book) logged(m sim.Stored) error {
	group, err := events.DecodeGroup(m.Data)
	if err != nil {
		return err
	}
	at, err := b.w.names.OutcomePosition(m.Subject, m.Seq)
	if err != nil {
		return err
	}
	b.log.Add(group, at)
	for _, e := range group.Entries {
		if of := idOf(e.Key, versioning.Tag{Version: e.Version, Digest: e.Digest}); e.Outcome.Final() {
			b.ended[e.Sequence] = true
			if _, twice := b.settled[of]; !twice {
				b.settled[of] = e.Outcome
			}
		}
	}
	return nil
}

// told: an ack says what the log says by then.
func (b *book) told(m sim.Stored) error {
	for line := range strings.Lines(string(m.Data)) {
		ack, err := events.DecodeAck([]byte(line))
		if err != nil {
			return err
		}
		if _, is := b.settled[idOf(ack.Key, versioning.Tag{Version: ack.Version, Digest: ack.Digest})]; !is {
			b.found("guarantee 1 is violated: %s@%s is told to be %s, and the log does not have it", ack.Key, ack.Version, ack.Outcome)
		}
	}
	return nil
}

// acked: what leaves a work queue has an outcome in the log, or is parked; and if it is the
// newest version of its key, the ledger says so to whoever looks for the head.
func (b *book) acked(stream string, m sim.Stored) {
	if stream != b.w.names.UpdateStream(channel) {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	key := events.KeyOfSubject(m.Subject)
	if !strings.HasPrefix(key, ordinary) {
		return
	}
	u, err := events.Decode(b.w.names, m.Subject, header(m), m.Data)
	if err != nil {
		b.found("the work queue has %q: %w", m.Data, err)
		return
	}
	parked := b.parked[fmt.Sprint(m.Seq)]
	if _, is := b.settled[idOf(u.Key, u.Tag())]; !is && !b.ended[m.Seq] && !parked {
		b.found("guarantee 1 is violated: the message of %s@%s is acked, and the log does not have it", u.Key, u.Version)
	}
	rec := b.ledger[u.Key]
	if newest := rec.Newest(); older(events.Update{Version: newest.Version}, u) {
		b.found("guarantee 2 is violated: %s@%s leaves the work queue, and the ledger knows of %s", u.Key, u.Version, newest.Version)
	}
}

// header returns a message's headers; none if they cannot be read.
func header(m sim.Stored) nats.Header {
	out, err := nats.DecodeHeadersMsg(m.Header)
	if err != nil {
		return nats.Header{}
	}
	return out
}

// ordinaryOnly leaves out what a history is not about, and what is superseded once more:
// that is no other outcome (guarantees.md).
func ordinaryOnly(entries []faults.Logged) (out []faults.Logged) {
	superseded := map[id]bool{}
	for _, e := range entries {
		of := idOf(e.Key, versioning.Tag{Version: e.Version, Digest: e.Digest})
		if again := superseded[of]; again && e.Outcome == events.Superseded || !strings.HasPrefix(e.Key, ordinary) {
			continue
		}
		superseded[of] = superseded[of] || e.Outcome == events.Superseded
		out = append(out, e)
	}
	return out
}
