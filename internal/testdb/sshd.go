package testdb

import (
	"bufio"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
)

// sshd is OpenSSH's server with SFTP in it. Whoever runs it is the one user who may log in.
type sshd struct {
	program, private, hostPublic string
}

func (*sshd) name() string       { return "OpenSSH" }
func (*sshd) stopSignal() string { return "KILL" }

func (e *sshd) find() error {
	if e.program = lookup("sshd"); e.program == "" {
		return errors.New("there is no OpenSSH server on this machine: apt-get install openssh-server")
	}
	return nil
}

func (*sshd) initialise(s *Server) []string {
	return []string{"mkdir", "-p", filepath.Join(s.dir, "data", "files")}
}

func (e *sshd) configure(s *Server) error {
	in := func(name string) string { return filepath.Join(s.dir, "data", name) }
	host, hostPublic, err := newKey()
	if err != nil {
		return err
	}
	client, clientPublic, err := newKey()
	if err != nil {
		return err
	}
	e.private, e.hostPublic = client, strings.TrimSpace(hostPublic)
	config := []string{
		"ListenAddress 127.0.0.1", "Port " + strconv.Itoa(s.port), "HostKey " + in("host_key"), "PidFile none",
		"AuthorizedKeysFile " + in("authorized_keys"), "StrictModes no", "UsePAM no", "UseDNS no",
		"PasswordAuthentication no", "KbdInteractiveAuthentication no", "Subsystem sftp internal-sftp -d " + in("files"),
	}
	write := func(name, text string) error { return os.WriteFile(in(name), []byte(text), 0o600) }
	return errors.Join(
		write("host_key", host), write("authorized_keys", clientPublic), write("sshd_config", strings.Join(config, "\n")+"\n"),
	)
}

// newKey makes a key as ssh-keygen writes it, and the line with its public half.
func newKey() (private, public string, err error) {
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return "", "", err
	}
	block, err := ssh.MarshalPrivateKey(key, "")
	if err != nil {
		return "", "", err
	}
	sshPub, err := ssh.NewPublicKey(pub)
	if err != nil {
		return "", "", err
	}
	return string(pem.EncodeToMemory(block)), string(ssh.MarshalAuthorizedKey(sshPub)), nil
}

func (e *sshd) serve(s *Server) []string {
	return []string{e.program, "-D", "-e", "-f", filepath.Join(s.dir, "data", "sshd_config")}
}

// exec waits for the server's greeting: it has no statements.
func (*sshd) exec(ctx context.Context, s *Server, _, _ string) (err error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", s.Addr())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetReadDeadline(deadline); err != nil {
			return err
		}
	}
	greeting, err := bufio.NewReader(conn).ReadString('\n')
	if err == nil && !strings.HasPrefix(greeting, "SSH-2.0-") {
		err = fmt.Errorf("it greets with %q", greeting)
	}
	return err
}

func (*sshd) dsn(*Server, string) string { return "" }

// An SSHD is an OpenSSH server with SFTP.
type SSHD struct {
	*Server
	User       string // may log in
	PrivateKey string // of the user, in PEM
	HostKey    string // the server's public key: its type and itself
	Dir        string // where the user is after the login
}

// StartSSHD starts an OpenSSH server of the test's own, which it may stop and start: with it
// all its sessions are killed. It ends with the test.
func StartSSHD(t testing.TB) *SSHD {
	t.Helper()
	e := &sshd{}
	s := startOwn(t, e)
	who, err := user.Current()
	if c := s.owner.credential; c != nil {
		who, err = user.LookupId(strconv.FormatUint(uint64(c.Uid), 10))
	}
	if err != nil {
		t.Fatalf("testdb: %v", err)
	}
	return &SSHD{Server: s, User: who.Username, PrivateKey: e.private, HostKey: e.hostPublic, Dir: filepath.Join(s.dir, "data", "files")}
}
