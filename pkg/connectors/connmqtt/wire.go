package connmqtt

import (
	"bufio"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/eclipse/paho.golang/packets"
)

const (
	// mostAnswer bounds a packet of a broker that is only written to, mostMessage one that
	// holds a message which was asked for, in bytes.
	mostAnswer  = 64 << 10
	mostMessage = 64 << 20
	// mostCredit bounds what a broker may send beyond what it was sent, in bytes.
	mostCredit = 1 << 20
)

var (
	errTooMuch    = errors.New("the broker sends more than it was asked for")
	errNotAsked   = errors.New("the broker sends a packet that it was not asked for, or that is none of MQTT")
	errOldVersion = errors.New("the broker does not speak MQTT 5")
)

// A wire is a connection that lets packets through only as large, and of the kinds, that were
// asked for: the library takes what comes, up to 4 GB at once. It gathers what is written, and
// knows how it ended.
//
// It is a sync.Locker: the library holds it for each packet that it writes.
type wire struct {
	net.Conn
	raw net.Conn // below TLS

	in    *bufio.Reader
	takes uint16 // a bit for each type of packet
	most  int
	buf   [5]byte
	head  []byte // of the packet that is read, in buf
	left  int    // of it
	heard atomic.Int64

	writing sync.Mutex
	waiting atomic.Int32 // who will write soon, and send what is there
	out     *bufio.Writer
	sent    atomic.Int64 // bytes that the system has taken

	mu      sync.Mutex
	counted bool // whether what comes is counted against credit
	credit  int
	err     error // of the first call that failed
}

// newWire returns the wire of a connection. One that reads is for messages.
func newWire(conn, raw net.Conn, reads bool) *wire {
	w := &wire{Conn: conn, raw: raw, in: bufio.NewReader(conn), credit: mostCredit}
	w.out = bufio.NewWriterSize(portions{conn, &w.sent}, 32<<10)
	w.takes = 1<<packets.CONNACK | 1<<packets.PUBACK | 1<<packets.PINGRESP | 1<<packets.DISCONNECT
	w.most, w.counted = mostAnswer, true
	if reads {
		w.takes |= 1<<packets.PUBLISH | 1<<packets.SUBACK
		w.most, w.counted = mostMessage, false
	}
	w.heard.Store(time.Now().UnixNano())
	return w
}

// portions writes what is large in portions, so that others see whether it goes on.
type portions struct {
	to   io.Writer
	sent *atomic.Int64
}

func (p portions) Write(data []byte) (n int, err error) {
	const portion = 64 << 10
	for n < len(data) && err == nil {
		var m int
		m, err = p.to.Write(data[n:min(n+portion, len(data))])
		n += m
		p.sent.Add(int64(m))
	}
	return n, err
}

func (w *wire) Read(p []byte) (n int, err error) {
	if len(w.head) == 0 && w.left == 0 {
		if err := w.begin(); err != nil {
			return 0, w.note(err)
		}
	}
	if len(w.head) > 0 {
		n = copy(p, w.head)
		w.head = w.head[n:]
		return n, nil
	}
	n, err = w.in.Read(p[:min(len(p), w.left)])
	w.left -= n
	return n, w.note(err)
}

// begin reads the first bytes of a packet: its type, and how long it is.
func (w *wire) begin() error {
	first, err := w.in.ReadByte()
	if err != nil {
		return err
	}
	w.heard.Store(time.Now().UnixNano())
	kind := first >> 4
	if w.takes&(1<<kind) == 0 {
		return errNotAsked
	}
	w.head = append(w.buf[:0], first)
	for shift := 0; ; shift += 7 {
		b, err := w.in.ReadByte()
		if err != nil {
			return err
		}
		w.head = append(w.head, b)
		w.left |= int(b&0x7f) << shift
		if b&0x80 == 0 {
			break
		}
		if shift == 21 { // four bytes are the most
			return errNotAsked
		}
	}
	size := len(w.head) + w.left
	switch {
	case kind == packets.CONNACK && w.left == 2: // without properties: of an older version
		return errOldVersion
	case w.left > w.most || !w.spend(size):
		return errTooMuch
	}
	return nil
}

// spend takes bytes that came from the credit, if there is enough of it.
func (w *wire) spend(n int) bool {
	if !w.counted {
		return true
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.credit -= n
	return w.credit >= 0
}

// Lock is held for each packet that is written.
func (w *wire) Lock() {
	w.waiting.Add(1)
	w.writing.Lock()
	w.waiting.Add(-1)
}

// Unlock sends what was written, unless somebody is there who will.
func (w *wire) Unlock() {
	if w.waiting.Load() == 0 {
		w.flush()
	}
	w.writing.Unlock()
}

// hold says that several packets will be written. They are sent by release.
func (w *wire) hold() { w.waiting.Add(1) }

func (w *wire) release() {
	w.waiting.Add(-1)
	w.writing.Lock()
	defer w.writing.Unlock()
	w.flush()
}

// Write is called under Lock.
func (w *wire) Write(p []byte) (int, error) {
	n, err := w.out.Write(p)
	if w.counted {
		w.mu.Lock()
		w.credit = min(w.credit+4*n, mostCredit)
		w.mu.Unlock()
	}
	return n, w.broke(err)
}

// flush is called under Lock.
func (w *wire) flush() {
	if w.out.Buffered() > 0 {
		_ = w.broke(w.out.Flush()) // whoever waits for an answer hears of it
	}
}

// broke ends the connection if it cannot be written to: a packet may be there in part.
func (w *wire) broke(err error) error {
	if err != nil {
		_ = w.note(err)
		_ = w.raw.Close()
	}
	return err
}

func (w *wire) note(err error) error {
	if err != nil {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.err == nil {
			w.err = err
		}
	}
	return err
}

// ended returns the first error of the wire, nil if there was none.
func (w *wire) ended() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// end closes the connection for a reason.
func (w *wire) end(why error) {
	_ = w.note(why)
	_ = w.raw.Close()
}

// silentSince reports whether nothing has come since a time, and for at least d.
func (w *wire) silentSince(begun time.Time, d time.Duration) bool {
	last := max(begun.UnixNano(), w.heard.Load())
	return time.Now().UnixNano()-last >= int64(d)
}

// Close does not take leave by TLS, which could wait.
func (w *wire) Close() error {
	_ = w.note(net.ErrClosed)
	return w.raw.Close()
}
