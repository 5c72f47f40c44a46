package testdb

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// MostOfRabbitMQ is the size of the largest message that a RabbitMQ of tests takes, in bytes.
const MostOfRabbitMQ = 256 << 10

// rabbitmq is a node of RabbitMQ, with a port mapper (epmd) of its own. The ports are on
// loopback, and so are those by which nodes find each other.
type rabbitmq struct {
	bin           string // the directory of its programs
	epmd          string
	secure        int // the port for TLS
	nodes, mapper int // the ports of Erlang
}

func (*rabbitmq) name() string       { return "RabbitMQ" }
func (*rabbitmq) stopSignal() string { return "KILL" }

// startsWithin: it starts a virtual machine, and loads a thousand modules.
func (*rabbitmq) startsWithin() time.Duration { return 2 * time.Minute }

func (e *rabbitmq) find() error {
	// What Debian has on the path is a wrapper, which starts it as the user rabbitmq alone.
	for _, pattern := range []string{"/usr/lib/rabbitmq/bin", "/usr/lib/rabbitmq/lib/*/sbin", "/opt/rabbitmq/sbin"} {
		found, _ := filepath.Glob(filepath.Join(pattern, "rabbitmq-server")) // the pattern is good
		if len(found) > 0 {
			e.bin = filepath.Dir(found[0])
		}
	}
	if e.epmd = lookup("epmd"); e.bin == "" || e.epmd == "" {
		return errors.New("there is no RabbitMQ on this machine: apt-get install rabbitmq-server")
	}
	return nil
}

func (*rabbitmq) initialise(s *Server) []string {
	return []string{"mkdir", filepath.Join(s.dir, "data")}
}

func (e *rabbitmq) configure(s *Server) (err error) {
	for _, port := range []*int{&e.secure, &e.nodes, &e.mapper} {
		*port, err = freePort()
		if err != nil {
			return err
		}
	}
	in := func(name string) string { return filepath.Join(s.dir, "data", name) }
	type object = map[string]any
	definitions, err := json.Marshal(object{
		"users": []object{
			{"name": rabbitUser, "password": rabbitPassword, "tags": "administrator"},
			{"name": RabbitLimited, "password": rabbitPassword, "tags": ""},
		},
		"vhosts": []object{{"name": "/"}, {"name": RabbitClosed}},
		"permissions": []object{
			{"user": rabbitUser, "vhost": "/", "configure": ".*", "write": ".*", "read": ".*"},
			{"user": RabbitLimited, "vhost": "/", "configure": "^$", "write": "^limited", "read": ".*"},
		},
		"topic_permissions": []object{{"user": RabbitLimited, "vhost": "/", "exchange": "limited.topic", "write": "^good", "read": ".*"}},
	})
	if err != nil {
		return err
	}
	config := []string{
		"listeners.tcp.1 = " + s.Addr(), "listeners.ssl.1 = " + net.JoinHostPort("127.0.0.1", strconv.Itoa(e.secure)),
		"ssl_options.cacertfile = " + filepath.Join(s.dir, caName), "ssl_options.certfile = " + filepath.Join(s.dir, certName),
		"ssl_options.keyfile = " + filepath.Join(s.dir, keyName), "ssl_options.verify = verify_none",
		"loopback_users = none", "load_definitions = " + in("definitions.json"), "log.console.level = error",
		"disk_free_limit.absolute = 1MB", "max_message_size = " + strconv.Itoa(MostOfRabbitMQ),
	}
	write := func(name, text string) error { return os.WriteFile(in(name), []byte(text), 0o600) }
	return errors.Join(
		write("definitions.json", string(definitions)), write("enabled_plugins", "[].\n"),
		write("rabbitmq.conf", strings.Join(config, "\n")+"\n"),
	)
}

// environment lists what all of its programs are told.
func (e *rabbitmq) environment(s *Server) []string {
	in := func(name string) string { return filepath.Join(s.dir, "data", name) }
	return []string{
		"RABBITMQ_NODENAME=extsync@localhost", "RABBITMQ_DIST_PORT=" + strconv.Itoa(e.nodes), "RABBITMQ_LOGS=-",
		"RABBITMQ_MNESIA_BASE=" + in("mnesia"), "RABBITMQ_LOG_BASE=" + in("log"), "RABBITMQ_CONFIG_FILE=" + in("rabbitmq.conf"),
		"RABBITMQ_ADVANCED_CONFIG_FILE=" + in("none"), "RABBITMQ_CONF_ENV_FILE=" + in("none"),
		"RABBITMQ_ENABLED_PLUGINS_FILE=" + in("enabled_plugins"),
		"RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=-kernel inet_dist_use_interface {127,0,0,1}",
		"ERL_EPMD_PORT=" + strconv.Itoa(e.mapper), "ERL_EPMD_ADDRESS=127.0.0.1", "ERL_ZFLAGS=-start_epmd false",
	}
}

// serve starts the port mapper as a child of the server's, so that it ends with it: one that
// an Erlang program starts by itself would stay.
func (e *rabbitmq) serve(s *Server) []string {
	const script = `"$1" & exec "$2"/rabbitmq-server`
	return append(append([]string{"/usr/bin/env"}, e.environment(s)...), "/bin/sh", "-c", script, "rabbitmq", e.epmd, e.bin)
}

// exec says which protocol we speak, and waits for what the server says first.
func (*rabbitmq) exec(ctx context.Context, s *Server, _, _ string) (err error) {
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
	if _, err := io.WriteString(conn, "AMQP\x00\x00\x09\x01"); err != nil {
		return err
	}
	answer := make([]byte, 11)
	if _, err := io.ReadFull(conn, answer); err != nil {
		return err
	}
	if start := []byte{0, 10, 0, 10}; answer[0] != 1 || !bytes.Equal(answer[7:], start) {
		return fmt.Errorf("it begins with %x", answer)
	}
	return nil
}

func (*rabbitmq) dsn(*Server, string) string { return "" }

// RabbitLimited is a user who may write to exchanges whose names begin with limited, and to
// limited.topic with routing keys that begin with good. RabbitClosed is a virtual host that
// nobody may enter.
const (
	RabbitLimited = "limited"
	RabbitClosed  = "closed"

	rabbitUser     = "extsync"
	rabbitPassword = "correct-horse-battery"
)

// A RabbitMQServer is a node of RabbitMQ.
type RabbitMQServer struct {
	*Server
	User, Password string // of the administrator; RabbitLimited has the same password
	SecureAddr     string // is for TLS
	engine         *rabbitmq
}

// RabbitMQ returns a RabbitMQ that all tests of one process share, as it takes seconds to
// start. A test that stops it starts it again, and shares it with no other meanwhile.
func RabbitMQ(t testing.TB) *RabbitMQServer {
	t.Helper()
	s := sharedRabbitMQ.get(t, &rabbitmq{})
	e := s.engine.(*rabbitmq) // it was made above, or by another test
	return &RabbitMQServer{s, rabbitUser, rabbitPassword, net.JoinHostPort("127.0.0.1", strconv.Itoa(e.secure)), e}
}

// Control runs rabbitmqctl.
func (r *RabbitMQServer) Control(t testing.TB, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), readyWithin)
	defer cancel()
	argv := append([]string{"/usr/bin/env"}, r.engine.environment(r.Server)...)
	argv = append(append(argv, filepath.Join(r.engine.bin, "rabbitmqctl")), args...)
	if out, err := r.owner.command(ctx, r.dir, argv).CombinedOutput(); err != nil {
		t.Fatalf("testdb: rabbitmqctl %s: %v: %s", args, err, bytes.TrimSpace(out))
	}
}
