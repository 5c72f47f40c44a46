package connfile

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connkit"
)

// A dialer makes sessions with one server. Its methods are called by one at a time.
type dialer struct {
	network    *connectors.Dialer
	address    string
	config     ssh.ClientConfig
	keys       hostKeys
	algorithms []string // that led to a known key last
}

func newDialer(c SFTPConfig, env connectors.Env) (*dialer, error) {
	s := connkit.NewSecrets(env)
	key, passphrase, password := s.Text("private_key", c.PrivateKey), s.Text("passphrase", c.Passphrase), s.Text("password", c.Password)
	if err := s.Err(); err != nil {
		return nil, err
	}
	d := &dialer{address: c.address(), config: ssh.ClientConfig{User: c.User, ClientVersion: "SSH-2.0-extsync"}}
	if key != "" && !env.Previews() {
		signer, err := signer(key, passphrase)
		if err != nil {
			return nil, connkit.Misconfigured("private_key", err)
		}
		d.config.Auth = append(d.config.Auth, ssh.PublicKeys(signer))
	}
	if password != "" {
		d.config.Auth = append(d.config.Auth, ssh.Password(password), ssh.KeyboardInteractive(answerWith(password)))
	}
	for _, text := range c.HostKeys {
		k, err := parseHostKey(text, d.address)
		if err != nil {
			return nil, connkit.Misconfigured("config", err)
		}
		d.keys = append(d.keys, k)
	}
	d.algorithms = d.keys.algorithms()
	var err error
	d.network, err = env.Dialer(c.AllowCIDRs)
	return d, err
}

// signer reads a private key. Its errors show nothing of it.
func signer(key, passphrase string) (ssh.Signer, error) {
	if passphrase != "" {
		s, err := ssh.ParsePrivateKeyWithPassphrase([]byte(key), []byte(passphrase))
		if err != nil {
			return nil, errors.New("private_key: it is no private key that passphrase opens")
		}
		return s, nil
	}
	s, err := ssh.ParsePrivateKey([]byte(key))
	var locked *ssh.PassphraseMissingError
	switch {
	case errors.As(err, &locked):
		return nil, errors.New("private_key: it is encrypted; give passphrase")
	case err != nil:
		return nil, errors.New("private_key: it is no private key in PEM, as ssh-keygen writes it")
	}
	return s, nil
}

// answerWith answers the questions of a server that are not to be shown with the password.
func answerWith(password string) ssh.KeyboardInteractiveChallenge {
	return func(_, _ string, questions []string, echos []bool) ([]string, error) {
		answers := make([]string, len(questions))
		for i := range answers {
			if echos[i] {
				return nil, errors.New("the server asks for something else than a password")
			}
			answers[i] = password
		}
		return answers, nil
	}
}

// dial makes a session. The server is asked first for the key that it showed last.
func (d *dialer) dial(ctx context.Context) (*session, error) {
	s, err := d.search(ctx)
	if err != nil {
		d.algorithms = d.keys.algorithms() // it may have another one by then
	}
	return s, err
}

// search makes a session. A server that shows a key of another type than the fingerprints
// are of is asked for its others.
func (d *dialer) search(ctx context.Context) (*session, error) {
	var first error
	for algorithms := d.algorithms; ; {
		s, err := d.once(ctx, algorithms)
		var stranger *strangerError
		var none *ssh.AlgorithmNegotiationError
		switch {
		case err == nil:
			d.algorithms = algorithms
			return s, nil
		case errors.As(err, &stranger):
			if algorithms = without(algorithms, stranger.kind); first == nil {
				first = err
			}
		case errors.As(err, &none) && first != nil:
			return nil, first // it has no other key
		default:
			return nil, err
		}
		if len(algorithms) == 0 {
			return nil, first
		}
	}
}

// A loginError says that the server was the right one and did not let us in.
type loginError struct{ err error }

func (e *loginError) Error() string { return "login: " + e.err.Error() }
func (e *loginError) Unwrap() error { return e.err }

// once makes a session whose host key is of one of these algorithms.
func (d *dialer) once(ctx context.Context, algorithms []string) (_ *session, err error) {
	conn, err := d.network.DialContext(ctx, "tcp", d.address)
	if err != nil {
		return nil, err
	}
	unhook := context.AfterFunc(ctx, func() { _ = conn.Close() }) // nothing below hears of ctx
	defer func() {
		if !unhook() && err == nil {
			err = ctx.Err()
		}
		if err != nil {
			_ = conn.Close() // the error is the one that counts
		}
	}()
	config, known := d.config, false
	config.HostKeyAlgorithms = algorithms
	config.HostKeyCallback = func(host string, remote net.Addr, key ssh.PublicKey) error {
		err := d.keys.check(host, remote, key)
		known = err == nil
		return err
	}
	c, channels, requests, err := ssh.NewClientConn(conn, d.address, &config)
	if err != nil {
		if known && !isNetwork(err) {
			err = &loginError{err}
		}
		return nil, err
	}
	client := ssh.NewClient(c, channels, requests)
	m := &meter{}
	files, err := startSFTP(client, m)
	if err != nil {
		if !isNetwork(err) {
			err = &loginError{err}
		}
		_ = client.Close()
		return nil, err
	}
	s := &session{conn: conn, files: files, meter: m, over: make(chan struct{})}
	go func() {
		defer close(s.over)
		_ = files.Wait()   // it ends with the connection, and why is told by the calls
		_ = client.Close() // one that has lost its subsystem is of no use
		_ = client.Wait()
	}()
	return s, nil
}

// startSFTP starts the subsystem, whose answers pass the meter.
func startSFTP(client *ssh.Client, m *meter) (*sftp.Client, error) {
	channel, err := client.NewSession()
	if err != nil {
		return nil, err
	}
	in, err := channel.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := channel.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := channel.RequestSubsystem("sftp"); err != nil {
		return nil, err
	}
	m.from = out
	return sftp.NewClientPipe(m, in, sftp.UseConcurrentWrites(true))
}

// isNetwork reports whether an error is that of a connection, and not an answer.
func isNetwork(err error) bool {
	var network net.Error
	return errors.As(err, &network) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed)
}

// A meter ends listings of directories that have no end: the library keeps all names of one
// in memory.
type meter struct {
	from     io.Reader
	active   atomic.Int64 // so that nothing is locked while nobody lists
	mu       sync.Mutex
	listings map[*listing]struct{}
}

// mostDuring bounds what a connection may carry to us while a directory is listed, in bytes.
const mostDuring = 64 << 20

type listing struct {
	left int64
	stop context.CancelFunc
}

func (m *meter) Read(p []byte) (int, error) {
	n, err := m.from.Read(p)
	if m.active.Load() > 0 {
		m.mu.Lock()
		for l := range m.listings {
			if l.left -= int64(n); l.left < 0 {
				l.stop()
			}
		}
		m.mu.Unlock()
	}
	return n, err
}

// watch returns the context of a listing, and what ends it.
func (m *meter) watch(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancel(ctx)
	l := &listing{mostDuring, cancel}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.listings == nil {
		m.listings = map[*listing]struct{}{}
	}
	m.listings[l] = struct{}{}
	m.active.Add(1)
	return ctx, func() {
		cancel()
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.listings, l)
		m.active.Add(-1)
	}
}
