package sim

import (
	"bytes"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A Broker is a NATS server with JetStream, as far as extsync uses it. Its methods may be
// called concurrently.
type Broker struct {
	began time.Time

	mu      sync.Mutex
	clients map[*client]struct{}
	joined  int
	streams map[string]*stream
	full    map[string]bool

	// Stored is told of each message that a stream stores, Acked of each one that leaves a
	// work queue because it is acked, in their order. nil: nobody is. They must not call
	// the broker, and are set before anybody connects.
	Stored, Acked func(stream string, m Stored)
}

// New returns a broker that holds nothing.
func New() *Broker {
	return &Broker{began: time.Now(), clients: map[*client]struct{}{}, streams: map[string]*stream{}, full: map[string]bool{}}
}

func itoa(n int) string { return strconv.Itoa(n) }

func (b *Broker) join(c *client) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.joined++
	c.id = b.joined
	b.clients[c] = struct{}{}
}

func (b *Broker) leave(c *client) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.clients, c)
	for _, s := range b.streams {
		for _, consumer := range s.consumers {
			consumer.left(c)
			// One that pushes is gone with its listener, or what it sends after a reconnect
			// waits for a lock of the client that is held until a request is late.
			if c.listens(consumer.cfg.DeliverSubject) {
				s.deleteConsumer(consumer)
			}
		}
	}
}

// listens reports whether somebody at a connection listens to a subject.
func (c *client) listens(subject string) bool {
	for _, s := range c.subs {
		if matches(s.subject, subject) {
			return true
		}
	}
	return false
}

func (b *Broker) subscribe(c *client, subject, sid string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	c.subs[sid] = &subscription{c: c, sid: sid, subject: subject}
	for _, s := range b.streams {
		for _, consumer := range s.consumers {
			consumer.pump() // a push consumer may have waited for it
		}
	}
}

func (b *Broker) unsubscribe(c *client, sid string, most int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if s := c.subs[sid]; s != nil && most > 0 {
		s.left = most
		return
	}
	delete(c.subs, sid)
}

// route delivers a message to everybody who listens, and reports whether somebody does.
func (b *Broker) route(subject, reply string, header, data []byte) (heard bool) {
	for c := range b.clients {
		for _, s := range c.subs {
			if s.subject == subject || matches(s.subject, subject) {
				s.deliver(subject, reply, header, data)
				heard = true
			}
		}
	}
	return heard
}

// listener returns whose inbox a subject is; nil: nobody's.
func (b *Broker) listener(subject string) *client {
	for c := range b.clients {
		if c.listens(subject) {
			return c
		}
	}
	return nil
}

var noResponders = []byte("NATS/1.0 503\r\n\r\n") //nolint:gochecknoglobals // a constant

// publish handles what a client publishes.
func (b *Broker) publish(c *client, p publication) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, there := b.clients[c]; !there { // it was on the way when the connection was cut
		return
	}
	switch {
	case strings.HasPrefix(p.subject, apiPrefix):
		b.api(c, p)
	case strings.HasPrefix(p.subject, "$JS.ACK."):
		if !c.link.loses() {
			b.acked(p.subject)
		}
		if p.reply != "" { // the client wants to know that it was heard
			b.answer(c, p.reply, nil, nil)
		}
	default:
		heard := b.route(p.subject, p.reply, p.header, p.data)
		for _, s := range b.streams {
			if !s.listens(p.subject) {
				continue
			}
			heard = true
			ack := s.take(p)
			if p.reply != "" {
				b.answer(c, p.reply, nil, ack)
			}
		}
		if !heard && p.reply != "" {
			b.route(p.reply, "", noResponders, nil)
		}
	}
}

// answer sends an answer to c, which may be lost.
func (b *Broker) answer(c *client, reply string, header, data []byte) {
	if !c.link.loses() {
		b.route(reply, "", header, data)
	}
}

// Fill has a stream refuse messages for want of room, until it is called with false.
func (b *Broker) Fill(stream string, full bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.full[stream] = full
}

// A Stored is a message that a stream holds.
type Stored struct {
	Subject      string
	Seq          uint64
	Header, Data []byte
}

// Value returns the value of a header, "" if there is none.
func (m Stored) Value(header string) string { return headerValue(m.Header, header) }

// MessagesAfter returns what a stream holds behind a sequence, oldest first; nothing if
// there is no such stream.
func (b *Broker) MessagesAfter(name string, seq uint64) (out []Stored) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if s := b.streams[name]; s != nil {
		for _, m := range s.msgs[s.index(seq+1):] {
			out = append(out, m.stored())
		}
	}
	return out
}

// Restart ends all connections and starts the broker again, as after SIGKILL: consumers
// in memory are gone, and what was deleted or acked lately may be there again, as dice says
// for each message.
func (b *Broker) Restart(back func() bool) {
	b.mu.Lock()
	for _, name := range b.names() {
		b.streams[name].restart(back)
	}
	b.mu.Unlock()
	b.disconnect()
}

func (b *Broker) disconnect() {
	b.mu.Lock()
	clients := make([]*client, 0, len(b.clients))
	for c := range b.clients {
		clients = append(clients, c)
	}
	b.mu.Unlock()
	for _, c := range clients {
		c.close()
	}
}

// A Backup is what a broker held once.
type Backup struct{ streams map[string]*stream }

// Backup returns what the broker holds now.
func (b *Broker) Backup() Backup {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := Backup{streams: map[string]*stream{}}
	for name, s := range b.streams {
		out.streams[name] = s.copied()
	}
	return out
}

// Restore ends all connections and starts the broker again with what it held once.
func (b *Broker) Restore(backup Backup) {
	b.mu.Lock()
	for _, s := range b.streams {
		s.stop()
	}
	b.streams = map[string]*stream{}
	for name, s := range backup.streams {
		b.streams[name] = s.copied()
	}
	b.mu.Unlock()
	b.disconnect()
}

// Stop ends all connections and timers.
func (b *Broker) Stop() {
	b.mu.Lock()
	for _, s := range b.streams {
		s.stop()
	}
	b.mu.Unlock()
	b.disconnect()
}

// headerValue returns the value of a header, "" if there is none.
func headerValue(header []byte, name string) string {
	for line := range bytes.SplitSeq(header, []byte("\r\n")) {
		key, value, ok := bytes.Cut(line, []byte(":"))
		if ok && strings.EqualFold(string(key), name) {
			return string(bytes.TrimSpace(value))
		}
	}
	return ""
}

// stamp returns the broker's time, in its own form.
func stamp(at time.Time) string { return at.UTC().Format(time.RFC3339Nano) }
