package testdb

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// MostOfMosquitto is the size of the largest content of a message that a Mosquitto of tests
// takes, in bytes, and MostPacketOfMosquitto that of the largest packet.
const (
	MostOfMosquitto       = 256 << 10
	MostPacketOfMosquitto = 512 << 10
)

// MosquittoLimited is a user who may publish to topics below limited/, and read them, and no
// others.
const (
	MosquittoLimited = "limited"

	mosquittoUser     = "extsync"
	mosquittoPassword = "correct-horse-battery"
)

// mosquitto has three listeners: in the clear, for TLS, and for TLS with certificates of
// clients.
type mosquitto struct {
	program, passwords string
	settings           []string // lines of configuration
	secure, certified  int      // ports
}

func (*mosquitto) name() string       { return "Mosquitto" }
func (*mosquitto) stopSignal() string { return "KILL" }

func (m *mosquitto) find() error {
	if m.program, m.passwords = lookup("mosquitto"), lookup("mosquitto_passwd"); m.program == "" || m.passwords == "" {
		return errors.New("there is no Mosquitto on this machine: apt-get install mosquitto")
	}
	return nil
}

func (*mosquitto) in(s *Server, name string) string { return filepath.Join(s.dir, "data", name) }

// initialise makes the file of passwords, too.
func (m *mosquitto) initialise(s *Server) []string {
	const script = `mkdir "$1/data" && "$2" -c -b "$1/data/passwords" "$3" "$5" && "$2" -b "$1/data/passwords" "$4" "$5"`
	return []string{"/bin/sh", "-c", script, "mosquitto", s.dir, m.passwords, mosquittoUser, MosquittoLimited, mosquittoPassword}
}

func (m *mosquitto) configure(s *Server) (err error) {
	for _, port := range []*int{&m.secure, &m.certified} {
		if *port, err = freePort(); err != nil {
			return err
		}
	}
	secured := []string{
		"cafile " + filepath.Join(s.dir, caName), "certfile " + filepath.Join(s.dir, certName), "keyfile " + filepath.Join(s.dir, keyName),
	}
	lines := []string{
		"allow_anonymous false", "password_file " + m.in(s, "passwords"), "acl_file " + m.in(s, "acl"),
		"persistence true", "persistence_location " + m.in(s, "") + "/", "log_dest stderr", "log_type error", "log_type warning",
		"message_size_limit " + strconv.Itoa(MostOfMosquitto), "max_packet_size " + strconv.Itoa(MostPacketOfMosquitto),
	}
	for _, line := range m.settings {
		if !strings.HasPrefix(line, "max_qos") { // it is a listener's
			lines = append(lines, line)
		}
	}
	lines = append(lines, "listener "+strconv.Itoa(s.port)+" 127.0.0.1")
	for _, line := range m.settings {
		if strings.HasPrefix(line, "max_qos") {
			lines = append(lines, line)
		}
	}
	lines = append(append(lines, "listener "+strconv.Itoa(m.secure)+" 127.0.0.1"), secured...)
	lines = append(append(lines, "listener "+strconv.Itoa(m.certified)+" 127.0.0.1", "require_certificate true"), secured...)
	const acl = "user " + mosquittoUser + "\ntopic readwrite #\nuser " + MosquittoLimited + "\ntopic readwrite limited/#\n"
	return errors.Join(
		os.WriteFile(m.in(s, "acl"), []byte(acl), 0o600),
		os.WriteFile(m.in(s, "mosquitto.conf"), []byte(strings.Join(lines, "\n")+"\n"), 0o600),
	)
}

func (m *mosquitto) serve(s *Server) []string {
	return []string{m.program, "-c", m.in(s, "mosquitto.conf")}
}

// exec connects as nobody, and waits until that is refused.
func (*mosquitto) exec(ctx context.Context, s *Server, _, _ string) (err error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", s.Addr())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return err
		}
	}
	const connect = "\x10\x0e\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x01t"
	if _, err := io.WriteString(conn, connect); err != nil {
		return err
	}
	answer := make([]byte, 4)
	if _, err := io.ReadFull(conn, answer); err != nil {
		return err
	}
	if answer[0] != 0x20 {
		return fmt.Errorf("it begins with %x", answer)
	}
	return nil
}

func (*mosquitto) dsn(*Server, string) string { return "" }

// A Mosquitto is an MQTT broker.
type Mosquitto struct {
	*Server
	User, Password string // of who may do everything; MosquittoLimited has the same password
	SecureAddr     string // is for TLS
	CertifiedAddr  string // is for TLS with a certificate of the authority of CAFile
}

// StartMosquitto starts a Mosquitto of the test's own, with these lines of configuration
// besides, which it may stop and start. It ends with the test.
func StartMosquitto(t testing.TB, settings ...string) *Mosquitto {
	t.Helper()
	e := &mosquitto{settings: settings}
	s := startOwn(t, e)
	at := func(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }
	return &Mosquitto{s, mosquittoUser, mosquittoPassword, at(e.secure), at(e.certified)}
}

// ClientKeyPair returns a certificate and a key, in PEM, that CertifiedAddr takes.
func (m *Mosquitto) ClientKeyPair(t testing.TB) (cert, key string) {
	t.Helper()
	pair := [2]string{}
	for i, name := range []string{certName, keyName} { // those of the server's own do
		data, err := os.ReadFile(filepath.Join(m.dir, name))
		if err != nil {
			t.Fatal(err)
		}
		pair[i] = string(data)
	}
	return pair[0], pair[1]
}
