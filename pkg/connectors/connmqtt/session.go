package connmqtt

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connkit"
)

const (
	// keepAlive is how often each side says that it is there, in seconds. A broker that does
	// not answer for so long is taken for gone.
	keepAlive = 20
	// mostUnread is how many messages a broker may send before the first one is taken.
	mostUnread = 16
	// leaveWithin bounds the time that a broker has to say goodbye.
	leaveWithin = time.Second
	// callersLimit stands where the library wants a limit of time of its own: ctx is the one.
	callersLimit = 24 * time.Hour
)

var (
	errNoRetain = errors.New("the broker keeps no retained messages")
	errNoQoS    = errors.New("the broker does not take QoS 1")
	errSilent   = errors.New("the broker has stopped to answer")
)

// A refusal is a reason code that a broker gave, in the answer to a packet or as it ended
// the connection.
type refusal struct {
	packet byte // the type of what it came in
	code   byte
	reason string // of the broker's, for people
}

func (*refusal) Error() string { return "the broker refuses" }

// A dialer makes sessions with one broker.
type dialer struct {
	network        *connectors.Dialer
	address        string
	tls            *tls.Config // nil: in the clear
	user, password string
}

func newDialer(c Config, env connectors.Env) (*dialer, error) {
	s := connkit.NewSecrets(env)
	d := &dialer{address: c.address(), user: c.User, password: s.Text("password", c.Password)}
	if c.Scheme == secureScheme {
		var err error
		if d.tls, err = c.TLS.Config(s); err != nil {
			return nil, connkit.Misconfigured("config", err)
		}
		if d.tls.ServerName == "" {
			d.tls.ServerName = c.Host
		}
	}
	if err := s.Err(); err != nil {
		return nil, err
	}
	if len(d.password) > mostText {
		return nil, connkit.Misconfigured("config", errors.New("the password is longer than MQTT carries"))
	}
	var err error
	d.network, err = env.Dialer(c.AllowCIDRs)
	return d, err
}

// A session is a connection to the broker. Calls share it.
type session struct {
	client *paho.Client
	wire   *wire
	*answers
	most uint32 // bytes of a packet that the broker takes; 0: any
}

// dial makes a session under a client id. One that reads has a function that takes messages,
// and must not wait.
func (d *dialer) dial(ctx context.Context, id string, take func(*paho.Publish)) (_ *session, err error) {
	raw, err := d.network.DialContext(ctx, "tcp", d.address)
	if err != nil {
		return nil, err
	}
	raw = promptly(raw)
	unhook := context.AfterFunc(ctx, func() { _ = raw.Close() }) // writes do not hear of ctx
	conn := raw
	defer func() {
		if !unhook() && err == nil {
			err = ctx.Err()
		}
		if err != nil {
			_ = raw.Close() // the error is the one that counts
		}
	}()
	if d.tls != nil {
		secure := tls.Client(raw, d.tls)
		if err := secure.HandshakeContext(ctx); err != nil {
			return nil, err
		}
		conn = secure
	}
	s := &session{wire: newWire(conn, raw, take != nil), answers: newAnswers()}
	config := paho.ClientConfig{
		Conn: s.wire, Session: s.answers, AuthHandler: nobody{}, PacketTimeout: callersLimit,
		PingHandler: &pinger{paho.NewDefaultPinger(), s.wire},
	}
	config.OnPublishReceived = []func(paho.PublishReceived) (bool, error){func(m paho.PublishReceived) (bool, error) {
		if take != nil {
			take(m.Packet)
		}
		return true, nil
	}}
	s.client = paho.NewClient(config)
	unread, most := uint16(mostUnread), uint32(s.wire.most) //nolint:gosec // a constant
	ack, err := s.client.Connect(ctx, &paho.Connect{
		ClientID: id, CleanStart: true, KeepAlive: keepAlive,
		Username: d.user, UsernameFlag: d.user != "", Password: []byte(d.password), PasswordFlag: d.password != "",
		Properties: &paho.ConnectProperties{ReceiveMaximum: &unread, MaximumPacketSize: &most, RequestProblemInfo: true},
	})
	if err != nil {
		if ack != nil && ack.ReasonCode >= packets.ConnackUnspecifiedError {
			return nil, &refusal{packets.CONNACK, ack.ReasonCode, ack.Properties.ReasonString}
		}
		return nil, s.wire.why(err)
	}
	p := ack.Properties
	switch {
	case !p.RetainAvailable:
		err = errNoRetain
	case p.MaximumQoS != nil && *p.MaximumQoS < atLeastOnce:
		err = errNoQoS
	}
	if err != nil {
		s.leave()
		return nil, err
	}
	if p.MaximumPacketSize != nil {
		s.most = *p.MaximumPacketSize
	}
	return s, nil
}

// why returns the error of the wire in place of another one, if it had one.
func (w *wire) why(err error) error {
	if own := w.ended(); own != nil {
		return own
	}
	return err
}

// why returns the reason for which a session is over.
func (s *session) why() error {
	if d := s.said(); d != nil {
		r := &refusal{packet: packets.DISCONNECT, code: d.ReasonCode}
		if d.Properties != nil {
			r.reason = d.Properties.ReasonString
		}
		return r
	}
	return s.wire.why(net.ErrClosed)
}

// isOver reports whether calls can use a session no more.
func (s *session) isOver() bool {
	select {
	case <-s.over:
		return true
	default:
		return s.wire.ended() != nil
	}
}

const (
	// patience is how long a call whose ctx has ended waits for the system to take more of what
	// it writes, and mostPatience how long for all of it.
	patience     = 300 * time.Millisecond
	mostPatience = 3 * time.Second
)

// hurry ends the connection if the returned function is not called soon after ctx ends: a
// write that blocks does not hear of ctx. One that goes on is waited for, since the end of the
// connection would take the messages of other calls with it.
func (s *session) hurry(ctx context.Context) (done func()) {
	written := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		tick := time.NewTicker(patience)
		defer tick.Stop()
		for until, sent := time.Now().Add(mostPatience), s.wire.sent.Load(); ; {
			select {
			case <-written:
				return
			case <-tick.C:
			}
			now := s.wire.sent.Load()
			if now == sent || time.Now().After(until) {
				s.wire.end(errSilent)
				return
			}
			sent = now
		}
	})
	return func() {
		stop()
		close(written)
	}
}

// leave says goodbye, and waits until the connection is no more.
func (s *session) leave() {
	_ = s.wire.raw.SetWriteDeadline(time.Now().Add(leaveWithin))
	_ = s.client.Disconnect(&paho.Disconnect{ReasonCode: packets.DisconnectNormalDisconnection}) // it is closed whatever comes
}

// A pinger is the library's, and says why it has ended.
type pinger struct {
	*paho.DefaultPinger
	wire *wire
}

// Run returns when ctx or the connection ends.
func (p *pinger) Run(ctx context.Context, conn net.Conn, every uint16) error {
	err := p.DefaultPinger.Run(ctx, conn, every)
	if err != nil {
		p.wire.end(errSilent)
	}
	return err
}

// nobody answers to enhanced authentication. The library calls it for a broker that says it
// was asked for it.
type nobody struct{}

func (nobody) Authenticate(*paho.Auth) *paho.Auth { return &paho.Auth{} }
func (nobody) Authenticated()                     {}

// A pool keeps a session while there can be one. It is safe for concurrent use.
type pool struct {
	dialer *dialer
	id     string        // the client id of all sessions
	turn   chan struct{} // whoever makes a session puts something in

	mu      sync.Mutex
	current *session
	closed  bool
}

func newPool(d *dialer, id string) *pool {
	return &pool{dialer: d, id: id, turn: make(chan struct{}, 1)}
}

// get returns a session.
func (p *pool) get(ctx context.Context) (*session, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if s := p.there(); s != nil {
		return s, nil
	}
	select {
	case p.turn <- struct{}{}:
		defer func() { <-p.turn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if s := p.there(); s != nil { // of whoever had the turn before
		return s, nil
	}
	s, err := p.dialer.dial(ctx, p.id, nil)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		_ = s.wire.Close()
		return nil, net.ErrClosed
	}
	p.current = s
	return s, nil
}

func (p *pool) there() *session {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.current == nil || p.current.isOver() {
		return nil
	}
	return p.current
}

// close takes leave of the broker.
func (p *pool) close() {
	p.mu.Lock()
	p.closed = true
	s := p.current
	p.current = nil
	p.mu.Unlock()
	if s != nil {
		s.leave()
	}
}
