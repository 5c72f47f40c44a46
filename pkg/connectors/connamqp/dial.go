package connamqp

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connkit"
)

const (
	// heartbeat is twice how often each side says that it is there. A broker that has said
	// nothing for one and a half of it is taken for gone.
	heartbeat = 20 * time.Second
	mostFrame = 131072 // bytes
)

// A dialer makes sessions with one broker.
type dialer struct {
	network        *connectors.Dialer
	address        string
	tls            *tls.Config // nil: in the clear
	user, password string
	vhost, name    string
	declare        string // the queue that is made if it is not there; "" for none
	lanes          int
	batch          int
}

func newDialer(c Config, env connectors.Env) (*dialer, error) {
	s := connkit.NewSecrets(env)
	d := &dialer{
		address: c.address(), user: c.User, password: s.Text("password", c.Password), vhost: c.VHost,
		name: "extsync " + env.Channel, lanes: max(env.Concurrency, 1), batch: c.MaxBatch,
	}
	if c.Declare == declareQuorum {
		d.declare = c.RoutingKey
	}
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
	var err error
	d.network, err = env.Dialer(c.AllowCIDRs)
	return d, err
}

// dial makes a session.
func (d *dialer) dial(ctx context.Context) (_ *session, err error) {
	raw, err := d.network.DialContext(ctx, "tcp", d.address)
	if err != nil {
		return nil, err
	}
	w := &wire{Conn: raw, raw: raw, credit: mostCredit}
	unhook := context.AfterFunc(ctx, func() { _ = raw.Close() }) // the library does not hear of ctx
	defer func() {
		if !unhook() && err == nil {
			err = ctx.Err()
		}
		if err != nil {
			_ = raw.Close() // the error is the one that counts
			err = w.why(err)
		}
	}()
	if d.tls != nil {
		secure := tls.Client(raw, d.tls)
		if err := secure.HandshakeContext(ctx); err != nil {
			return nil, err
		}
		w.Conn = secure
	}
	properties := amqp.Table{"product": "extsync", "connection_name": d.name}
	conn, err := amqp.Open(w, amqp.Config{
		SASL: []amqp.Authentication{&plain{d.user, d.password, properties}}, Vhost: d.vhost, Locale: "en_US",
		Heartbeat: heartbeat, FrameSize: mostFrame, Properties: properties,
	})
	if err != nil {
		return nil, refusal(conn, err)
	}
	s := newSession(conn, w, d.lanes, d.batch)
	if d.declare != "" {
		if err := s.declare(d.declare); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// plain is PLAIN as the library has it, and asks the broker to say why it refuses a login. The
// library does not; without that a broker just ends the connection.
type plain struct {
	user, password string
	properties     amqp.Table
}

const saysWhy = "authentication_failure_close"

func (*plain) Mechanism() string { return "PLAIN" }

// Response is called when the library has filled in the capabilities, and before it sends them.
func (p *plain) Response() string {
	if can, ok := p.properties["capabilities"].(amqp.Table); ok {
		can[saysWhy] = true
	}
	return "\x00" + p.user + "\x00" + p.password
}

// A loginError says that the broker did not let us in.
type loginError struct{ err error }

func (e *loginError) Error() string { return "login: " + e.err.Error() }
func (e *loginError) Unwrap() error { return e.err }

// refusal returns the error of a handshake. The library takes every connection that is lost
// after the password was sent for a refused one.
func refusal(conn *amqp.Connection, err error) error {
	var e *amqp.Error
	switch {
	case errors.Is(err, amqp.ErrSASL), errors.As(err, &e) && e.Server && e.Code == amqp.AccessRefused:
		return &loginError{err}
	case errors.Is(err, amqp.ErrCredentials):
		can, _ := conn.Properties["capabilities"].(amqp.Table)
		if says, _ := can[saysWhy].(bool); !says {
			return &loginError{err}
		}
	}
	return err
}

// mostCredit bounds what a broker may send beyond what it was sent, in bytes. It answers with
// some bytes, and gives messages back that it was sent; the library takes as much as comes.
const mostCredit = 64 << 20

var errTooMuch = errors.New("the broker sends more than it was asked for")

// A wire is a connection that knows how it ended, which the library tells as a text only.
type wire struct {
	net.Conn
	raw net.Conn // below TLS

	mu     sync.Mutex
	credit int
	err    error // of the first call that failed
}

func (w *wire) Read(p []byte) (int, error) {
	n, err := w.Conn.Read(p)
	w.mu.Lock()
	if w.credit -= n; w.credit < 0 && err == nil {
		err = errTooMuch
	}
	w.mu.Unlock()
	return n, w.note(err)
}

func (w *wire) Write(p []byte) (int, error) {
	n, err := w.Conn.Write(p)
	w.mu.Lock()
	w.credit = min(w.credit+4*n, mostCredit)
	w.mu.Unlock()
	return n, w.note(err)
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

// Close does not take leave by TLS, which could wait.
func (w *wire) Close() error { return w.raw.Close() }

// why returns the cause of an error that the library made of what happened on the wire, or
// the error itself if it came from the broker.
func (w *wire) why(err error) error {
	var e *amqp.Error
	if !errors.As(err, &e) || e.Server {
		return err
	}
	var login *loginError
	if errors.As(err, &login) {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		return err
	}
	return w.err
}
