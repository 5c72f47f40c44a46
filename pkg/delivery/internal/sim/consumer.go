package sim

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// consumerConfig is what is used of a consumer's configuration.
type consumerConfig struct {
	Name           string        `json:"name"`
	DeliverSubject string        `json:"deliver_subject"`
	DeliverPolicy  string        `json:"deliver_policy"`
	OptStartSeq    uint64        `json:"opt_start_seq"`
	AckPolicy      string        `json:"ack_policy"`
	AckWait        time.Duration `json:"ack_wait"`
	FilterSubject  string        `json:"filter_subject"`
	FilterSubjects []string      `json:"filter_subjects"`
	MaxAckPending  int           `json:"max_ack_pending"`
	MemoryStorage  bool          `json:"mem_storage"`
	HeadersOnly    bool          `json:"headers_only"`
	Heartbeat      time.Duration `json:"idle_heartbeat"`
}

// A consumer is one of a stream. The broker's mu guards it.
type consumer struct {
	s       *stream
	name    string
	cfg     consumerConfig
	raw     json.RawMessage
	created time.Time

	cursor    uint64 // the next sequence to look at
	delivered uint64 // its own number of the last message that was sent
	upto      uint64 // the stream's
	times     map[uint64]int
	unacked   map[uint64]time.Time // when each is sent again
	again     []uint64
	pulls     []*pull
	heart     *time.Timer // of a push consumer
	look      *time.Timer // after messages whose ack is late
	ended     bool
	of        map[string]bool // whether a subject is the consumer's
}

// A pull is a request for messages.
type pull struct {
	c         *client
	reply     string
	left      int
	bytes     int // 0: any number
	bounded   bool
	heartbeat time.Duration
	heart     *time.Timer
	expiry    *time.Timer
	gone      bool
}

func (s *stream) newConsumer(name string, raw json.RawMessage) (*consumer, error) {
	c := &consumer{s: s, name: name, raw: raw, created: time.Now(), cursor: 1, times: map[uint64]int{}, unacked: map[uint64]time.Time{}, of: map[string]bool{}}
	if err := json.Unmarshal(raw, &c.cfg); err != nil {
		return nil, err
	}
	if c.cfg.FilterSubject != "" {
		c.cfg.FilterSubjects = []string{c.cfg.FilterSubject}
	}
	switch c.cfg.DeliverPolicy {
	case "", "all":
	case "last_per_subject":
		if s.cfg.MaxMsgsPerSubject != 1 {
			return nil, fmt.Errorf("sim: deliver policy %q of stream %s", c.cfg.DeliverPolicy, s.cfg.Name)
		}
	case "new":
		c.cursor = s.last + 1
	case "by_start_sequence":
		c.cursor = c.cfg.OptStartSeq
	default:
		return nil, fmt.Errorf("sim: deliver policy %q", c.cfg.DeliverPolicy)
	}
	return c, nil
}

// overlaps reports whether two consumers want some of the same messages.
func (c *consumer) overlaps(other *consumer) bool {
	if len(c.cfg.FilterSubjects) == 0 || len(other.cfg.FilterSubjects) == 0 {
		return true
	}
	return slices.ContainsFunc(c.cfg.FilterSubjects, func(a string) bool {
		return slices.ContainsFunc(other.cfg.FilterSubjects, func(b string) bool { return overlap(a, b) })
	})
}

// wants reports whether a subject is the consumer's.
func (c *consumer) wants(subject string) bool {
	if len(c.cfg.FilterSubjects) == 0 {
		return true
	}
	is, known := c.of[subject]
	if !known {
		is = slices.ContainsFunc(c.cfg.FilterSubjects, func(p string) bool { return matches(p, subject) })
		c.of[subject] = is
	}
	return is
}

// pending counts the messages that were not sent yet.
func (c *consumer) pending() int {
	from := c.s.index(c.cursor)
	if len(c.cfg.FilterSubjects) == 0 {
		return len(c.s.msgs) - from
	}
	n := 0
	for _, m := range c.s.msgs[from:] {
		if c.wants(m.subject) {
			n++
		}
	}
	return n
}

// next returns the message to be sent next; nil: none.
func (c *consumer) next() *message {
	for len(c.again) > 0 {
		m := c.s.at(c.again[0])
		if m != nil {
			return m
		}
		c.again = c.again[1:]
	}
	if c.explicit() && c.cfg.MaxAckPending > 0 && len(c.unacked) >= c.cfg.MaxAckPending {
		return nil
	}
	for i := c.s.index(c.cursor); i < len(c.s.msgs); i++ {
		if m := c.s.msgs[i]; c.wants(m.subject) {
			return m
		}
		c.cursor = c.s.msgs[i].seq + 1
	}
	return nil
}

func (c *consumer) explicit() bool { return c.cfg.AckPolicy == "explicit" || c.cfg.AckPolicy == "" }

// pump sends what there is to whoever waits for it.
func (c *consumer) pump() {
	if c.ended {
		return
	}
	if c.cfg.DeliverSubject != "" {
		c.push()
		return
	}
	for len(c.pulls) > 0 {
		p := c.pulls[0]
		m := c.next()
		if m == nil {
			return
		}
		if size := len(m.subject) + len(m.header) + len(m.data); p.bounded && size > p.bytes && p.bytes >= 0 {
			c.endPull(p, "409 Message Size Exceeds MaxBytes")
			continue
		} else {
			p.bytes -= size
		}
		c.send(p.reply, m)
		p.beat(c)
		if p.left--; p.left == 0 {
			c.dropPull(p)
		}
	}
}

// push sends to the delivery subject, if somebody listens there.
func (c *consumer) push() {
	if c.s.b.listener(c.cfg.DeliverSubject) == nil {
		return
	}
	for m := c.next(); m != nil; m = c.next() {
		c.send(c.cfg.DeliverSubject, m)
	}
	if c.cfg.Heartbeat > 0 && c.heart == nil {
		c.heart = time.AfterFunc(c.cfg.Heartbeat, c.beat)
	}
}

// beat sends a push consumer's heartbeat.
func (c *consumer) beat() {
	c.s.b.mu.Lock()
	defer c.s.b.mu.Unlock()
	if c.ended {
		return
	}
	if c.s.b.listener(c.cfg.DeliverSubject) != nil {
		head := fmt.Sprintf("NATS/1.0 100 Idle Heartbeat\r\nNats-Last-Consumer: %d\r\nNats-Last-Stream: %d\r\n\r\n", c.delivered, c.upto)
		c.s.b.route(c.cfg.DeliverSubject, "", []byte(head), nil)
	}
	c.heart.Reset(c.cfg.Heartbeat)
}

// send sends a message to an inbox.
func (c *consumer) send(to string, m *message) {
	if len(c.again) > 0 && c.again[0] == m.seq {
		c.again = c.again[1:]
	} else {
		c.cursor = m.seq + 1
	}
	c.delivered++
	c.upto = max(c.upto, m.seq)
	c.times[m.seq]++
	if c.explicit() {
		c.unacked[m.seq] = time.Now().Add(c.cfg.AckWait)
		if c.look == nil && c.cfg.AckWait > 0 {
			c.look = time.AfterFunc(c.cfg.AckWait/2, c.lookLate)
		}
	}
	reply := strings.Join([]string{
		"$JS.ACK", c.s.cfg.Name, c.name, itoa(c.times[m.seq]), strconv.FormatUint(m.seq, 10), strconv.FormatUint(c.delivered, 10),
		strconv.FormatInt(m.at.UnixNano(), 10), itoa(c.pending()),
	}, ".")
	data := m.data
	if c.cfg.HeadersOnly {
		data = nil
	}
	c.s.b.routeAs(m.subject, to, reply, m.header, data)
}

// routeAs delivers a message with its own subject to whoever listens at an inbox.
func (b *Broker) routeAs(subject, to, reply string, header, data []byte) {
	for c := range b.clients {
		for _, s := range c.subs {
			if matches(s.subject, to) {
				s.deliver(subject, reply, header, data)
			}
		}
	}
}

// lookLate has messages whose ack is late sent again.
func (c *consumer) lookLate() {
	c.s.b.mu.Lock()
	defer c.s.b.mu.Unlock()
	if c.ended {
		return
	}
	var late []uint64
	for seq, due := range c.unacked {
		if !time.Now().Before(due) {
			late = append(late, seq)
			delete(c.unacked, seq)
		}
	}
	slices.Sort(late)
	c.again = append(c.again, late...)
	c.look.Reset(c.cfg.AckWait / 2)
	c.pump()
}

// acked handles the ack of a message: $JS.ACK.<stream>.<consumer>.<times>.<seq>...
func (b *Broker) acked(subject string) {
	f := strings.Split(subject, ".")
	if len(f) < 9 || b.streams[f[2]] == nil {
		return
	}
	s := b.streams[f[2]]
	c := s.consumers[f[3]]
	seq, err := strconv.ParseUint(f[5], 10, 64)
	if c == nil || err != nil {
		return
	}
	delete(c.unacked, seq)
	c.again = slices.DeleteFunc(c.again, func(n uint64) bool { return n == seq })
	if m := s.at(seq); m != nil && s.cfg.Retention == jetstream.WorkQueuePolicy {
		if b.Acked != nil {
			b.Acked(s.cfg.Name, m.stored())
		}
		s.remove(m, true)
	}
	c.pump()
}

// addPull takes a request for messages.
func (c *consumer) addPull(p *pull, expires time.Duration, noWait bool) {
	c.pulls = append(c.pulls, p)
	c.pump()
	if p.gone {
		return
	}
	switch {
	case noWait && expires == 0:
		c.endPull(p, "404 No Messages")
	case expires > 0:
		p.expiry = time.AfterFunc(expires, func() {
			c.s.b.mu.Lock()
			defer c.s.b.mu.Unlock()
			c.endPull(p, "408 Request Timeout")
		})
		p.beat(c)
	}
}

// beat lets a pull's heartbeat come anew.
func (p *pull) beat(c *consumer) {
	if p.heartbeat == 0 || p.gone {
		return
	}
	if p.heart != nil {
		p.heart.Reset(p.heartbeat)
		return
	}
	p.heart = time.AfterFunc(p.heartbeat, func() {
		c.s.b.mu.Lock()
		defer c.s.b.mu.Unlock()
		if p.gone {
			return
		}
		c.s.b.route(p.reply, "", []byte("NATS/1.0 100 Idle Heartbeat\r\n\r\n"), nil)
		p.heart.Reset(p.heartbeat)
	})
}

// endPull tells that a request is over.
func (c *consumer) endPull(p *pull, status string) {
	if p.gone {
		return
	}
	c.dropPull(p)
	head := fmt.Sprintf("NATS/1.0 %s\r\nNats-Pending-Messages: %d\r\nNats-Pending-Bytes: %d\r\n\r\n", status, p.left, max(0, p.bytes))
	c.s.b.route(p.reply, "", []byte(head), nil)
}

func (c *consumer) dropPull(p *pull) {
	p.gone = true
	c.pulls = slices.DeleteFunc(c.pulls, func(other *pull) bool { return other == p })
	for _, timer := range []*time.Timer{p.heart, p.expiry} {
		if timer != nil {
			timer.Stop()
		}
	}
}

// left drops what a client waits for that is gone.
func (c *consumer) left(gone *client) {
	for _, p := range slices.Clone(c.pulls) {
		if p.c == gone {
			c.dropPull(p)
		}
	}
}

// stop ends the consumer's timers.
func (c *consumer) stop() {
	c.ended = true
	for _, p := range slices.Clone(c.pulls) {
		c.dropPull(p)
	}
	for _, timer := range []*time.Timer{c.heart, c.look} {
		if timer != nil {
			timer.Stop()
		}
	}
}
