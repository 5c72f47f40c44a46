package testdb

import (
	"bufio"
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/hms-utl/extsync/internal/testkit"
)

func engines() map[string]func(testing.TB) *Server {
	return map[string]func(testing.TB) *Server{"PostgreSQL": StartPostgres, "MariaDB": StartMariaDB}
}

func TestServerKeepsDataOverAKill(t *testing.T) {
	for name, start := range engines() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t)
			s.Exec(t, "", "CREATE DATABASE kept")
			s.Exec(t, "kept", "CREATE TABLE t (n int PRIMARY KEY)")
			s.Stop(t)
			if err := s.ping(t.Context()); err == nil {
				t.Fatal("the server answers after Stop")
			}
			s.Start(t)
			s.Exec(t, "kept", "INSERT INTO t VALUES (1)")
		})
	}
}

func TestDatabasesAreFreshOnOneServer(t *testing.T) {
	for name, dsn := range map[string]func(testing.TB) string{"PostgreSQL": Postgres, "MariaDB": MariaDB} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if a, b := dsn(t), dsn(t); a == b {
				t.Errorf("two databases have one name: %s", a)
			}
		})
	}
}

func TestRedisKeepsDataOverAKill(t *testing.T) {
	t.Parallel()
	s := StartRedis(t)
	s.Exec(t, "", "SET kept 1")
	s.Stop(t)
	if err := s.ping(t.Context()); err == nil {
		t.Fatal("the server answers after Stop")
	}
	s.Start(t)
	s.Exec(t, "", "INCR kept")
	s.Exec(t, "", "RENAME kept moved") // fails if it is not there
}

func TestNothingIsLeftAtTheEndOfATest(t *testing.T) {
	all := engines()
	all["Redis"] = func(t testing.TB) *Server { return StartRedis(t) }
	for name, start := range all {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var s *Server
			t.Run("server", func(t *testing.T) { s = start(t) })
			checkGone(t, s.dir)
		})
	}
}

// holdVariable makes a child of the test process start a server, say where it
// is, and wait to be killed.
const holdVariable = "TESTDB_HOLD"

func TestNothingIsLeftOfAKilledProcess(t *testing.T) {
	if kind := os.Getenv(holdVariable); kind != "" {
		s := engines()[kind](t)
		if _, err := os.Stdout.WriteString("dir=" + s.dir + "\n"); err != nil {
			t.Fatal(err)
		}
		<-t.Context().Done()
		return
	}
	for name := range engines() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestNothingIsLeftOfAKilledProcess$")
			cmd.Env = append(os.Environ(), holdVariable+"="+name)
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			dir := readDir(t, bufio.NewScanner(out))
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait() // it was killed
			awaitGone(t, dir)
		})
	}
}

func readDir(t *testing.T, lines *bufio.Scanner) string {
	t.Helper()
	for lines.Scan() {
		if dir, ok := strings.CutPrefix(lines.Text(), "dir="); ok {
			return dir
		}
	}
	t.Fatal("the child did not say where its server is")
	return ""
}

// awaitGone waits until nothing is left: the shell that removes the directory ends after it.
func awaitGone(t *testing.T, dir string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testkit.Patience)
	defer cancel()
	poll := time.NewTicker(pollEvery)
	defer poll.Stop()
	for {
		left := leftOf(t, dir)
		if len(left) == 0 {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("still there: %s", left)
		case <-poll.C:
		}
	}
}

// checkGone looks for the directory and for processes that name it.
func checkGone(t *testing.T, dir string) {
	t.Helper()
	if left := leftOf(t, dir); len(left) > 0 {
		t.Errorf("still there: %s", left)
	}
}

// leftOf returns the directory, and the processes that name it, as far as they are there.
func leftOf(t *testing.T, dir string) (left []string) {
	t.Helper()
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		left = append(left, dir)
	}
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range lines {
		if data, err := os.ReadFile(path); err == nil && strings.Contains(string(data), filepath.Join(dir, "data")) {
			left = append(left, strings.ReplaceAll(string(data), "\x00", " "))
		}
	}
	return left
}

// The sessions of a killed sshd would go on without it.
func TestSessionsOfAKilledSSHDAreGone(t *testing.T) {
	var s *SSHD
	t.Run("server", func(t *testing.T) {
		s = StartSSHD(t)
		signer, err := ssh.ParsePrivateKey([]byte(s.PrivateKey))
		testkit.Must(t, err)
		key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(s.HostKey))
		testkit.Must(t, err)
		config := &ssh.ClientConfig{User: s.User, Auth: []ssh.AuthMethod{ssh.PublicKeys(signer)}, HostKeyCallback: ssh.FixedHostKey(key)}
		conn, err := ssh.Dial("tcp", s.Addr(), config)
		testkit.Must(t, err)
		s.Stop(t)
		if err := conn.Wait(); err == nil {
			t.Error("the session ended as if nothing had been")
		}
		s.Start(t)
		conn, err = ssh.Dial("tcp", s.Addr(), config)
		testkit.Must(t, err)
		testkit.Must(t, conn.Close())
	})
	checkGone(t, s.dir)
}

// A killed server of calendars has what it had, and takes more.
func TestCalendarsOfAKilledServerStay(t *testing.T) {
	for name, start := range map[string]func(testing.TB) *CalDAV{"Radicale": StartRadicale, "Xandikos": StartXandikos} {
		var s *CalDAV
		t.Run(name, func(t *testing.T) {
			s = start(t)
			first := s.NewCalendar(t)
			s.Stop(t)
			s.Start(t)
			path := strings.TrimPrefix(first, "http://"+s.Addr()+"/")
			ctx, cancel := context.WithTimeout(t.Context(), testkit.Patience)
			defer cancel()
			if err := s.engine.exec(ctx, s.Server, path, "MKCALENDAR"); err == nil {
				t.Error("the calendar could be made a second time")
			}
			if second := s.NewCalendar(t); second == first {
				t.Errorf("two calendars are %s", first)
			}
		})
		checkGone(t, s.dir)
	}
}

// An Erlang program starts a port mapper that outlives it, unless it finds one.
func TestNothingIsLeftOfRabbitMQ(t *testing.T) {
	e := &rabbitmq{}
	var s *Server
	t.Run("server", func(t *testing.T) {
		s = startOwn(t, e)
		if err := dial(t, e.mapper); err != nil {
			t.Errorf("it has no port mapper of its own: %v", err)
		}
	})
	checkGone(t, s.dir)
	for _, port := range []int{s.port, e.secure, e.nodes, e.mapper} {
		if dial(t, port) == nil {
			t.Errorf("somebody listens at port %d", port)
		}
	}
}

func dial(t *testing.T, port int) error {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return err
	}
	return conn.Close()
}
