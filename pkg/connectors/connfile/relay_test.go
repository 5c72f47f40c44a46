package connfile_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/connectors/connfile"
)

// sftpServer is Debian's program behind every SFTP session of OpenSSH.
const sftpServer = "/usr/lib/openssh/sftp-server"

const password = "s3cret-pass word"

// The types of packets that these tests know.
const (
	typeInit     = 1
	typeVersion  = 2
	typeOpen     = 3
	typeWrite    = 6
	typeReaddir  = 12
	typeStatus   = 101
	typeName     = 104
	typeExtended = 200
)

// A relay is an SSH server that sees what a real sftp-server is asked and answers, and may
// change it.
type relay struct {
	dir      string // is removed when nobody writes any more
	listener net.Listener
	config   *ssh.ServerConfig
	keys     []ssh.Signer
	logins   atomic.Int64
	mu       sync.Mutex
	conns    map[net.Conn]struct{}
	hooks    hooks
}

// hooks are called with what passes a relay, where they are not nil.
type hooks struct {
	// asked sees each request before it is passed on.
	asked func(p packet)
	// answer gets each request, and what it returns goes back in place of asking the server,
	// unless it is nil.
	answer func(p packet) packet
	// answered gets each answer of the server, and returns what is passed on in its place;
	// nil is nothing.
	answered func(p packet) packet
}

func (r *relay) set(h hooks) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.hooks = h
}

func (r *relay) now() hooks {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.hooks
}

// A packet is one of SFTP without its length: type, id, and what follows.
type packet []byte

func (p packet) is(kind byte) bool { return len(p) > 0 && p[0] == kind }

// extension returns the name of an extended request.
func (p packet) extension() string {
	if !p.is(typeExtended) || len(p) < 9 {
		return ""
	}
	n := int(binary.BigEndian.Uint32(p[5:]))
	return string(p[9:min(9+n, len(p))])
}

// status returns the answer to a request that is nothing but a code.
func (p packet) status(code uint32) packet {
	out := append(packet{typeStatus}, p[1:5]...)
	out = binary.BigEndian.AppendUint32(out, code)
	for _, text := range []string{"No,\nsaid the server", "en"} {
		out = append(binary.BigEndian.AppendUint32(out, uint32(len(text))), text...)
	}
	return out
}

func newRelay(t testing.TB, change func(*ssh.ServerConfig)) *relay {
	t.Helper()
	r := &relay{dir: t.TempDir(), conns: map[net.Conn]struct{}{}, config: &ssh.ServerConfig{
		PasswordCallback: func(_ ssh.ConnMetadata, given []byte) (*ssh.Permissions, error) {
			if string(given) != password {
				return nil, errors.New("wrong")
			}
			return nil, nil
		},
	}}
	if change != nil {
		change(r.config)
	}
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	testkit.Must(t, err)
	curve, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	testkit.Must(t, err)
	for _, key := range []any{edwards, curve} {
		signer, err := ssh.NewSignerFromKey(key)
		testkit.Must(t, err)
		r.keys = append(r.keys, signer)
		r.config.AddHostKey(signer)
	}
	var lc net.ListenConfig
	r.listener, err = lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	testkit.Must(t, err)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := r.listener.Accept()
			if err != nil {
				return
			}
			r.mu.Lock()
			r.conns[conn] = struct{}{}
			r.mu.Unlock()
			running.Go(func() { r.serve(ctx, conn) })
		}
	})
	t.Cleanup(func() {
		_ = r.listener.Close()
		r.cut()
		cancel()
		running.Wait()
	})
	return r
}

// target returns the directory behind the relay.
func (r *relay) target(t testing.TB) *target {
	t.Helper()
	return &target{
		kind: connfile.SFTP(), dir: r.dir, secrets: map[string]string{"CHANNEL_PASSWORD": password},
		config: sftpConfig(r.listener.Addr().String(), "joe", ssh.FingerprintSHA256(r.keys[0].PublicKey())) +
			fmt.Sprintf("password: ${env:CHANNEL_PASSWORD}\ndirectory: %q\n", r.dir),
	}
}

// cut ends all connections.
func (r *relay) cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for conn := range r.conns {
		_ = conn.Close()
	}
	clear(r.conns)
}

func (r *relay) serve(ctx context.Context, conn net.Conn) {
	defer conn.Close() //nolint:errcheck // it is over
	server, channels, requests, err := ssh.NewServerConn(conn, r.config)
	if err != nil {
		return
	}
	r.logins.Add(1)
	defer server.Close() //nolint:errcheck // it is over
	go ssh.DiscardRequests(requests)
	for c := range channels {
		channel, requests, err := c.Accept()
		if err != nil {
			return
		}
		go func() {
			for req := range requests {
				_ = req.Reply(req.Type == "subsystem", nil)
			}
		}()
		r.session(ctx, conn, channel)
	}
}

// session passes packets until one side ends.
func (r *relay) session(ctx context.Context, conn net.Conn, client ssh.Channel) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cmd := exec.CommandContext(ctx, sftpServer)
	in, err1 := cmd.StdinPipe()
	out, err2 := cmd.StdoutPipe()
	if errors.Join(err1, err2, cmd.Start()) != nil {
		_ = conn.Close()
		return
	}
	var lock sync.Mutex // around what goes to the client
	var both sync.WaitGroup
	both.Go(func() {
		defer in.Close() //nolint:errcheck // the server ends by it
		pass(client, func(p packet) error {
			h := r.now()
			if h.answer != nil {
				if answer := h.answer(p); answer != nil {
					lock.Lock()
					defer lock.Unlock()
					return send(client, answer)
				}
			}
			if h.asked != nil {
				h.asked(p)
			}
			return send(in, p)
		})
	})
	both.Go(func() {
		defer conn.Close() //nolint:errcheck // it is over
		pass(out, func(p packet) error {
			if h := r.now(); h.answered != nil {
				p = h.answered(p)
			}
			lock.Lock()
			defer lock.Unlock()
			return send(client, p)
		})
	})
	both.Wait()
	_ = cmd.Wait() // it was told to end
}

func pass(from io.Reader, each func(packet) error) {
	for {
		var size [4]byte
		if _, err := io.ReadFull(from, size[:]); err != nil {
			return
		}
		p := make(packet, binary.BigEndian.Uint32(size[:]))
		if _, err := io.ReadFull(from, p); err != nil {
			return
		}
		if each(p) != nil {
			return
		}
	}
}

func send(to io.Writer, p packet) error {
	if p == nil {
		return nil
	}
	_, err := to.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(p))), p...))
	return err
}
