package sim_test

import (
	"fmt"
	"maps"
	"strings"
	"sync"

	"github.com/nats-io/nats.go"

	"github.com/hms-utl/extsync/internal/faults"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/delivery/internal/sim"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/publish"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// A book has everything that the broker has stored, as it was stored, and what must not
// have been at that moment: what is told before it is so, and what leaves before it is
// known elsewhere. At the end of a history neither may show.
type book struct {
	w *world

	mu      sync.Mutex
	pages   map[string]*faults.Outcomes // by channel
	settled map[id]events.Outcome       // first final outcomes
	ended   map[uint64]bool             // sequences of messages that have one
	parked  map[string]bool             // ids of messages that are, or were, parked
	known   map[string][]taken          // by key
	owed    map[id]bool                 // to a service: outcomes that it is told, true once it is
	wrong   error                       // the first
}

// taken is an update that the stream has stored.
type taken struct {
	versioning.Tag
	seq uint64
}

func (b *book) open(w *world) {
	b.w = w
	b.clear()
	w.broker.Stored, w.broker.Acked = b.stored, b.acked
}

func (b *book) clear() {
	b.pages = map[string]*faults.Outcomes{}
	b.settled, b.ended, b.parked = map[id]events.Outcome{}, map[uint64]bool{}, map[string]bool{}
	b.known, b.owed = map[string][]taken{}, map[id]bool{}
}

// page returns what is written about a channel.
func (b *book) page(channel string) *faults.Outcomes {
	p := b.pages[channel]
	if p == nil {
		p = &faults.Outcomes{Ledger: map[string]wire.Record{}}
		b.pages[channel] = p
	}
	return p
}

// read begins the book anew, with what a broker holds that was put back.
func (b *book) read() {
	b.mu.Lock()
	b.clear()
	b.mu.Unlock()
	n := b.w.names
	for _, stream := range []string{wire.OutcomeStream(n), wire.KVStream(wire.LedgerBucket(n)), wire.ParkedStream(n)} {
		for _, m := range b.w.broker.MessagesAfter(stream, 0) {
			b.stored(stream, m)
		}
	}
}

// outcomes returns what log and ledger say of a channel now.
func (b *book) outcomes(channel string) faults.Outcomes {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := *b.page(channel)
	records := out.Records
	out.Ledger, out.Records = maps.Clone(out.Ledger), make(map[string]*wire.Record, len(records))
	for key, rec := range records {
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
	if b.wrong == nil && b.w.story.backup == nil { // who waited before a restore waits no more
		for of, told := range b.owed {
			if !told {
				return fmt.Errorf("guarantee 3 is violated: a service asked for the outcome of %s@%s in %s, and was not told", of.key, of.version, of.channel)
			}
		}
	}
	return b.wrong
}

func (b *book) stored(stream string, m sim.Stored) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := b.w.names
	var err error
	switch {
	case stream == wire.OutcomeStream(n):
		err = b.logged(m)
	case stream == wire.KVStream(wire.LedgerBucket(n)):
		var rec wire.Record
		if rec, err = wire.DecodeRecord(m.Data); err == nil {
			channel := channelOf(m.Subject)
			b.page(channel).Ledger[rec.Key] = rec
			for _, of := range b.known[rec.Key] {
				b.w.witness.hear(channel, rec, of.Tag)
			}
		}
	case stream == wire.UpdateStream(n, b.w.route):
		if u, err := wire.Decode(n, m.Subject, header(m), m.Data); err == nil && strings.HasPrefix(u.Key, ordinary) {
			b.known[u.Key] = append(b.known[u.Key], taken{u.Tag(), m.Seq})
		}
	case stream == wire.ParkedStream(n):
		b.parked[m.Value("Extsync-Parked-Sequence")] = true
	case stream == wire.AckStream(n):
		err = b.told(m)
	}
	if err != nil {
		b.found("the broker was given what cannot be read: %w", err)
	}
}

func (b *book) logged(m sim.Stored) error {
	group, err := wire.DecodeGroup(m.Data)
	if err != nil {
		return err
	}
	at, err := wire.OutcomePosition(b.w.names, m.Subject, m.Seq)
	if err != nil {
		return err
	}
	b.page(group.Channel).Add(group, at)
	for _, e := range group.Entries {
		of := idOf(group.Channel, e.Key, versioning.Tag{Version: e.Version, Digest: e.Digest})
		if !wire.Final(e.Outcome) {
			continue
		}
		b.ended[e.Sequence] = true
		if _, twice := b.settled[of]; !twice {
			b.settled[of] = e.Outcome
		}
		if e.ReplyTo != "" && !b.owed[of] {
			b.owed[of] = false
		}
	}
	return nil
}

// channelOf returns the channel of a subject of the ledger.
func channelOf(subject string) string { return strings.Split(subject, ".")[2] }

// told: an ack says what the log says by then.
func (b *book) told(m sim.Stored) error {
	for line := range strings.Lines(string(m.Data)) {
		ack, err := publish.DecodeAck([]byte(line))
		if err != nil {
			return err
		}
		of := idOf(ack.Channel, ack.Key, versioning.Tag{Version: ack.Version, Digest: ack.Digest})
		if _, is := b.settled[of]; !is {
			b.found("guarantee 1 is violated: %s@%s is told to be %s by %s, and the log does not have it", ack.Key, ack.Version, ack.Outcome, ack.Channel)
		}
		if ack.Topic != b.w.route.Topic() {
			b.found("the ack of %s@%s is of topic %q", ack.Key, ack.Version, ack.Topic)
		}
		b.owed[of] = true
	}
	return nil
}

// acked: what leaves a work queue has an outcome in the log, or is parked; and if it is the
// newest version of its key, the ledger says so to whoever looks for the head.
func (b *book) acked(stream string, m sim.Stored) {
	if stream != wire.UpdateStream(b.w.names, b.w.route) {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	key := wire.KeyOfSubject(m.Subject)
	if !strings.HasPrefix(key, ordinary) {
		return
	}
	u, err := wire.Decode(b.w.names, m.Subject, header(m), m.Data)
	if err != nil {
		b.found("the work queue has %q: %w", m.Data, err)
		return
	}
	parked := b.parked[fmt.Sprint(m.Seq)]
	if _, is := b.settled[idOf(u.Channel, u.Key, u.Tag())]; !is && !b.ended[m.Seq] && !parked {
		b.found("guarantee 1 is violated: the message of %s@%s is acked, and the log does not have it", u.Key, u.Version)
	}
	rec := b.page(u.Channel).Ledger[u.Key]
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
		of := idOf("", e.Key, versioning.Tag{Version: e.Version, Digest: e.Digest})
		if again := superseded[of]; again && e.Outcome == events.Superseded || !strings.HasPrefix(e.Key, ordinary) {
			continue
		}
		superseded[of] = superseded[of] || e.Outcome == events.Superseded
		out = append(out, e)
	}
	return out
}
