package sim

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// A message is what a stream holds.
type message struct {
	seq          uint64
	subject      string
	header, data []byte
	at           time.Time
}

func (m *message) stored() Stored { return Stored{m.subject, m.seq, m.header, m.data} }

// A stream is one of JetStream. The broker's mu guards it.
type stream struct {
	b         *Broker
	cfg       jetstream.StreamConfig
	encoded   json.RawMessage // cfg; nil: it was not asked for
	created   time.Time
	msgs      []*message // ascending
	last      uint64
	lastAt    time.Time
	bySubject map[string][]*message
	ids       map[string]known
	consumers map[string]*consumer
	removed   []*message // of late, by an ack or a deletion
}

// known is a message id that was seen.
type known struct {
	seq uint64
	at  time.Time
}

// removedMost bounds what a killed broker may bring back.
const removedMost = 64

func newStream(b *Broker, cfg jetstream.StreamConfig) *stream {
	return &stream{
		b: b, cfg: cfg, created: time.Now(), bySubject: map[string][]*message{}, ids: map[string]known{}, consumers: map[string]*consumer{},
	}
}

// copied returns a copy without consumers.
func (s *stream) copied() *stream {
	out := *s
	out.msgs, out.removed, out.consumers = slices.Clone(s.msgs), nil, map[string]*consumer{}
	out.ids, out.bySubject = maps.Clone(s.ids), map[string][]*message{}
	for subject, msgs := range s.bySubject {
		out.bySubject[subject] = slices.Clone(msgs)
	}
	return &out
}

func (s *stream) stop() {
	for _, c := range s.consumers {
		c.stop()
	}
}

func (s *stream) listens(subject string) bool {
	return slices.ContainsFunc(s.cfg.Subjects, func(p string) bool { return matches(p, subject) })
}

// refusal returns the broker's answer to a publish that fails.
func (s *stream) refusal(code, number int, text string) []byte {
	return fmt.Appendf(nil, `{"error":{"code":%d,"err_code":%d,"description":%q},"stream":%q,"seq":0}`, code, number, text, s.cfg.Name)
}

// take stores what was published, and returns the answer.
func (s *stream) take(p publication) []byte {
	s.expire()
	subject := p.subject
	if t := s.cfg.SubjectTransform; t != nil {
		subject = transform(t.Source, t.Destination, subject)
	}
	id := headerValue(p.header, nats.MsgIdHdr)
	if seen, ok := s.ids[id]; ok && id != "" && time.Since(seen.at) < s.cfg.Duplicates {
		return fmt.Appendf(nil, `{"stream":%q,"seq":%d,"duplicate":true}`, s.cfg.Name, seen.seq)
	}
	if s.b.full[s.cfg.Name] {
		return s.refusal(503, 10077, "maximum bytes exceeded")
	}
	if expected := headerValue(p.header, nats.ExpectedLastSubjSeqHdr); expected != "" {
		of := subject
		if other := headerValue(p.header, "Nats-Expected-Last-Subject-Sequence-Subject"); other != "" {
			of = other
		}
		if last := s.lastOn(of); strconv.FormatUint(seqOf(last), 10) != expected {
			return s.refusal(400, 10071, "wrong last sequence: "+strconv.FormatUint(seqOf(last), 10))
		}
	}
	if expected := headerValue(p.header, nats.ExpectedLastSeqHdr); expected != "" && expected != strconv.FormatUint(s.last, 10) {
		return s.refusal(400, 10071, "wrong last sequence: "+strconv.FormatUint(s.last, 10))
	}
	if headerValue(p.header, jetstream.MsgRollup) == jetstream.MsgRollupSubject {
		s.removeAll(slices.Clone(s.bySubject[subject]), false)
	}
	s.last++
	m := &message{seq: s.last, subject: subject, header: p.header, data: p.data, at: time.Now()}
	s.lastAt = m.at
	s.msgs = append(s.msgs, m)
	s.bySubject[subject] = append(s.bySubject[subject], m)
	if id != "" {
		s.ids[id] = known{m.seq, m.at}
	}
	if most := s.cfg.MaxMsgsPerSubject; most > 0 && int64(len(s.bySubject[subject])) > most {
		s.remove(s.bySubject[subject][0], false)
	}
	if s.b.Stored != nil {
		s.b.Stored(s.cfg.Name, m.stored())
	}
	for _, c := range s.consumers {
		c.pump()
	}
	if r := s.cfg.RePublish; r != nil { // source and destination end with >, and no payload is wanted
		rest := strings.TrimPrefix(subject, strings.TrimSuffix(r.Source, ">"))
		s.b.route(strings.TrimSuffix(r.Destination, ">")+rest, "", nil, nil)
	}
	return fmt.Appendf(nil, `{"stream":%q,"seq":%d}`, s.cfg.Name, m.seq)
}

func seqOf(m *message) uint64 {
	if m == nil {
		return 0
	}
	return m.seq
}

// lastOn returns the newest message of a subject or a pattern.
func (s *stream) lastOn(pattern string) (last *message) {
	if of := s.bySubject[pattern]; len(of) > 0 {
		return of[len(of)-1]
	}
	for subject, of := range s.bySubject {
		if m := of[len(of)-1]; m.seq > seqOf(last) && matches(pattern, subject) {
			last = m
		}
	}
	return last
}

// index returns where the first message from seq on is.
func (s *stream) index(seq uint64) int {
	return sort.Search(len(s.msgs), func(i int) bool { return s.msgs[i].seq >= seq })
}

// at returns the message with a sequence; nil if there is none.
func (s *stream) at(seq uint64) *message {
	if i := s.index(seq); i < len(s.msgs) && s.msgs[i].seq == seq {
		return s.msgs[i]
	}
	return nil
}

// next returns the first message from seq on that matches; nil if there is none.
func (s *stream) next(seq uint64, pattern string) *message {
	for _, m := range s.msgs[s.index(seq):] {
		if pattern == "" || matches(pattern, m.subject) {
			return m
		}
	}
	return nil
}

// remove removes a message. back says that a killed broker may bring it back.
func (s *stream) remove(m *message, back bool) {
	i := s.index(m.seq)
	if i == len(s.msgs) || s.msgs[i] != m {
		return
	}
	s.msgs = slices.Delete(s.msgs, i, i+1)
	left := s.bySubject[m.subject]
	left = slices.DeleteFunc(left, func(other *message) bool { return other == m })
	if s.bySubject[m.subject] = left; len(left) == 0 {
		delete(s.bySubject, m.subject)
	}
	if back {
		if s.removed = append(s.removed, m); len(s.removed) > removedMost {
			s.removed = slices.Delete(s.removed, 0, 1)
		}
	}
}

func (s *stream) removeAll(msgs []*message, back bool) {
	for _, m := range msgs {
		s.remove(m, back)
	}
}

// expire removes what has reached its age.
func (s *stream) expire() {
	for s.cfg.MaxAge > 0 && len(s.msgs) > 0 && time.Since(s.msgs[0].at) >= s.cfg.MaxAge {
		s.remove(s.msgs[0], false)
	}
}

// restart is what a stream goes through when its server is killed.
func (s *stream) restart(back func() bool) {
	for name, c := range s.consumers {
		if c.cfg.MemoryStorage {
			c.stop()
			delete(s.consumers, name)
		}
	}
	for _, m := range s.removed {
		most := s.cfg.MaxMsgsPerSubject
		if s.at(m.seq) != nil || most > 0 && int64(len(s.bySubject[m.subject])) >= most || !back() {
			continue
		}
		s.msgs = slices.Insert(s.msgs, s.index(m.seq), m)
		of := append(s.bySubject[m.subject], m)
		slices.SortFunc(of, func(a, b *message) int { return int(a.seq) - int(b.seq) }) //nolint:gosec // small
		s.bySubject[m.subject] = of
	}
	s.removed = nil
}
