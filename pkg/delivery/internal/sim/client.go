package sim

import (
	"bytes"
	"fmt"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// A client is one connection of a process, at the broker's side: it reads and writes the
// protocol of NATS.
type client struct {
	b     *Broker
	link  *Link
	conn  net.Conn
	id    int
	ended chan struct{}
	end   sync.Once

	subs map[string]*subscription // by sid; the broker's mu guards it

	// greeted: the handshake is over. It takes no time, because the client holds a lock
	// for as long.
	greeted atomic.Bool

	mu   sync.Mutex
	in   []byte // came, and is not handled yet
	out  []byte // is to be sent
	came chan struct{}
	wake chan struct{}
}

type subscription struct {
	c       *client
	sid     string
	subject string
	left    int // deliveries until it ends; 0: no end
}

func newClient(b *Broker, l *Link, conn net.Conn) *client {
	return &client{b: b, link: l, conn: conn, ended: make(chan struct{}), subs: map[string]*subscription{}, came: make(chan struct{}, 1), wake: make(chan struct{}, 1)}
}

func (c *client) start() {
	c.b.join(c)
	c.send([]byte(`INFO {"server_id":"sim","server_name":"sim","version":"2.15.3","proto":1,"headers":true,"max_payload":1048576,"jetstream":true,"client_id":` + strconv.Itoa(c.id) + "}\r\n"))
	go c.read()
	go c.handle()
	go c.write()
}

func (c *client) close() {
	c.end.Do(func() {
		close(c.ended)
		_ = c.conn.Close()
		c.b.leave(c)
		c.link.forget(c)
	})
}

// send queues bytes for the process.
func (c *client) send(parts ...[]byte) {
	c.mu.Lock()
	for _, p := range parts {
		c.out = append(c.out, p...)
	}
	c.mu.Unlock()
	signal(c.wake)
}

func (c *client) write() {
	defer c.close()
	for {
		select {
		case <-c.ended:
			return
		case <-c.wake:
		}
		if c.greeted.Load() && !c.link.Pass("out", c.ended) {
			return
		}
		c.mu.Lock()
		out := c.out
		c.out = nil
		c.mu.Unlock()
		if _, err := c.conn.Write(out); err != nil {
			return
		}
	}
}

// read takes what the process sends as it comes: the client sends while it holds locks, and
// who waits for a lock keeps the time of the simulation from going on.
func (c *client) read() {
	defer c.close()
	buffer := make([]byte, 64<<10)
	for {
		n, err := c.conn.Read(buffer)
		if err != nil {
			return
		}
		c.mu.Lock()
		c.in = append(c.in, buffer[:n]...)
		c.mu.Unlock()
		signal(c.came)
	}
}

// handle handles what has come, after what it takes.
func (c *client) handle() {
	defer c.close()
	var in []byte
	for {
		select {
		case <-c.ended:
			return
		case <-c.came:
		}
		if c.greeted.Load() && !c.link.Pass("in", c.ended) {
			return
		}
		c.mu.Lock()
		in = append(in, c.in...)
		c.in = c.in[:0]
		c.mu.Unlock()
		var err error
		if in, err = c.parse(in); err != nil {
			return
		}
	}
}

// greet ends the handshake, once its last answer is out.
func (c *client) greet() {
	if c.greeted.Load() {
		return
	}
	go func() {
		for c.sending() {
			time.Sleep(time.Nanosecond) // until everybody waits for something
		}
		c.greeted.Store(true)
	}()
}

// sending reports whether something is still to be sent.
func (c *client) sending() bool {
	select {
	case <-c.ended:
		return false
	default:
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.out) > 0
}

func signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// parse handles what is complete and returns the rest.
func (c *client) parse(in []byte) ([]byte, error) {
	for {
		line, rest, ok := bytes.Cut(in, []byte("\r\n"))
		if !ok {
			return in, nil
		}
		op, args, _ := bytes.Cut(line, []byte(" "))
		switch string(bytes.ToUpper(op)) {
		case "PUB", "HPUB":
			p, size, err := parsePublish(op, args)
			if err != nil {
				return nil, err
			}
			if len(rest) < size+2 {
				return in, nil
			}
			p.header, p.data = bytes.Clone(rest[:p.headers]), bytes.Clone(rest[p.headers:size])
			rest = rest[size+2:]
			c.b.publish(c, p)
		case "SUB":
			fields := bytes.Fields(args)
			c.b.subscribe(c, string(fields[0]), string(fields[len(fields)-1]))
		case "UNSUB":
			sid, most, _ := bytes.Cut(args, []byte(" "))
			n, _ := strconv.Atoi(string(most)) // none: now
			c.b.unsubscribe(c, string(sid), n)
		case "PING":
			c.send([]byte("PONG\r\n"))
			c.greet()
		case "CONNECT", "PONG":
		default:
			return nil, fmt.Errorf("sim: unknown operation %q", op)
		}
		in = rest
	}
}

// A publication is what a client publishes.
type publication struct {
	subject, reply string
	headers        int // length of the header
	header, data   []byte
}

func parsePublish(op, args []byte) (p publication, size int, err error) {
	fields := bytes.Fields(args)
	number := func() (n int) {
		if len(fields) > 1 && err == nil {
			n, err = strconv.Atoi(string(fields[len(fields)-1]))
			fields = fields[:len(fields)-1]
		}
		return n
	}
	size = number()
	if len(op) == len("HPUB") {
		p.headers = number()
	}
	p.subject = string(fields[0])
	if len(fields) > 1 {
		p.reply = string(fields[1])
	}
	return p, size, err
}

// deliver sends a message to a subscription.
func (s *subscription) deliver(subject, reply string, header, data []byte) {
	head := make([]byte, 0, 64+len(subject)+len(reply))
	if len(header) > 0 {
		head = append(head, "HMSG "...)
	} else {
		head = append(head, "MSG "...)
	}
	head = append(head, subject...)
	head = append(head, ' ')
	head = append(head, s.sid...)
	if reply != "" {
		head = append(head, ' ')
		head = append(head, reply...)
	}
	if len(header) > 0 {
		head = append(head, ' ')
		head = strconv.AppendInt(head, int64(len(header)), 10)
	}
	head = append(head, ' ')
	head = strconv.AppendInt(head, int64(len(header)+len(data)), 10)
	head = append(head, "\r\n"...)
	s.c.send(head, header, data, []byte("\r\n"))
	if s.left > 0 {
		if s.left--; s.left == 0 {
			delete(s.c.subs, s.sid)
		}
	}
}
