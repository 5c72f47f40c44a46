package connmqtt

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/eclipse/paho.golang/packets"
	paholog "github.com/eclipse/paho.golang/paho/log"
	pahosession "github.com/eclipse/paho.golang/paho/session"
	"golang.org/x/sync/semaphore"
)

// answers leads each answer to whoever waits for it. It is the session manager of a
// connection, in place of the library's: a session ends with its connection here, so nothing
// is to be stored, and all who wait must hear of the end, which those of the library do not.
type answers struct {
	room *semaphore.Weighted // of the broker, for messages on their way
	size int64               // of room
	over chan struct{}       // closed when the connection is no more
	// answered is when a message was answered last, in nanoseconds.
	answered atomic.Int64

	mu   sync.Mutex
	conn io.Writer // nil: there is none yet, or no more
	open map[uint16]waiter
	last uint16
	left *packets.Disconnect // what the broker said at the end
}

var _ pahosession.SessionManager = (*answers)(nil)

// A waiter is whoever has sent a packet.
type waiter struct {
	answer chan<- packets.ControlPacket // gets one, the zero one if the connection ended
	weight int64                        // of room, to be given back
}

// mostOnTheWay bounds how many messages are on their way, whatever a broker allows.
const mostOnTheWay = 4096

func newAnswers() *answers {
	return &answers{over: make(chan struct{}), open: map[uint16]waiter{}}
}

// ConAckReceived begins the session.
func (s *answers) ConAckReceived(conn io.Writer, _ *packets.Connect, ack *packets.Connack) error {
	s.size = mostOnTheWay
	if p := ack.Properties; p != nil && p.ReceiveMaximum != nil {
		if *p.ReceiveMaximum == 0 {
			return errNotAsked
		}
		s.size = min(s.size, int64(*p.ReceiveMaximum))
	}
	s.room = semaphore.NewWeighted(s.size)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conn = conn
	return nil
}

// AddToSession gives a packet an id, by which its answer is known.
func (s *answers) AddToSession(_ context.Context, packet pahosession.Packet, answer chan<- packets.ControlPacket) error {
	return s.add(packet, answer, 0)
}

var errNoID = errors.New("every packet id is in use")

// add is AddToSession for a packet that takes room. The answer gives it back.
func (s *answers) add(packet pahosession.Packet, answer chan<- packets.ControlPacket, weight int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn == nil {
		return pahosession.ErrNoConnection
	}
	for range 1 << 16 {
		if s.last++; s.last == 0 {
			continue // which is no id
		}
		if _, used := s.open[s.last]; !used {
			packet.SetIdentifier(s.last)
			s.open[s.last] = waiter{answer, weight}
			return nil
		}
	}
	return errNoID
}

// PacketReceived passes an answer, or a message, on.
func (s *answers) PacketReceived(packet *packets.ControlPacket, messages chan<- *packets.Publish) error {
	switch p := packet.Content.(type) {
	case *packets.Publish:
		messages <- p
	case *packets.Puback, *packets.Suback:
		s.mu.Lock()
		defer s.mu.Unlock()
		if w, ok := s.open[packet.PacketID()]; ok {
			delete(s.open, packet.PacketID())
			s.answer(w, *packet)
		}
	}
	return nil
}

// answeredNobody reports whether no message was answered since a time, which is at least d ago.
func (s *answers) answeredNobody(since time.Time, d time.Duration) bool {
	return time.Since(since) >= d && s.answered.Load() < since.UnixNano()
}

// answer is called under the lock. The channel has room for one.
func (s *answers) answer(w waiter, packet packets.ControlPacket) {
	s.answered.Store(time.Now().UnixNano())
	w.answer <- packet
	if w.weight > 0 {
		s.room.Release(w.weight)
	}
}

// Ack says that a message was taken.
func (s *answers) Ack(m *packets.Publish) error {
	s.mu.Lock()
	conn := s.conn
	s.mu.Unlock()
	if m.QoS == 0 || conn == nil {
		return nil
	}
	ack := packets.Puback{PacketID: m.PacketID, Properties: &packets.Properties{}}
	_, err := ack.WriteTo(conn)
	return err
}

// ConnectionLost ends the session: all who wait get the zero answer.
func (s *answers) ConnectionLost(left *packets.Disconnect) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn == nil {
		return nil
	}
	s.conn, s.left = nil, left
	for id, w := range s.open {
		delete(s.open, id)
		s.answer(w, packets.ControlPacket{})
	}
	close(s.over)
	return nil
}

// said returns what the broker said when it ended the connection, nil if nothing.
func (s *answers) said() *packets.Disconnect {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.left
}

// Close is for sessions that the library has made.
func (*answers) Close() error { return nil }

// SetErrorLogger and SetDebugLogger do nothing: there is nothing to log.
func (*answers) SetErrorLogger(paholog.Logger) {}
func (*answers) SetDebugLogger(paholog.Logger) {}
