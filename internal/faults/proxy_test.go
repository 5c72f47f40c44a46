package faults_test

import (
	"bufio"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/hms-utl/extsync/internal/faults"
)

// echo is a server that sends every line back.
func echo(t *testing.T) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(conn, conn)
				_ = conn.Close()
			}()
		}
	}()
	return l.Addr().String()
}

type line struct {
	t    *testing.T
	conn net.Conn
	in   *bufio.Reader
}

func dial(t *testing.T, addr string) *line {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &line{t, conn, bufio.NewReader(conn)}
}

// say sends a line and waits for the answer no longer than most.
func (l *line) say(text string, most time.Duration) error {
	if _, err := io.WriteString(l.conn, text+"\n"); err != nil {
		return err
	}
	return l.hear(most)
}

func (l *line) hear(most time.Duration) error {
	if err := l.conn.SetReadDeadline(time.Now().Add(most)); err != nil {
		l.t.Fatal(err)
	}
	_, err := l.in.ReadString('\n')
	return err
}

func TestProxyBreaksAndHeals(t *testing.T) {
	const soon, patience = 50 * time.Millisecond, 10 * time.Second
	p := faults.NewProxy(t, echo(t))
	l := dial(t, p.Addr())
	if err := l.say("hello", patience); err != nil {
		t.Fatal(err)
	}
	for name, freeze := range map[string]func(){"both ways": p.Freeze, "answers": p.FreezeAnswers} {
		freeze()
		if err := l.say("frozen", soon); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("frozen %s: %v", name, err)
		}
		p.Heal()
		if err := l.hear(patience); err != nil { // what was held comes after all
			t.Errorf("healed: %v", err)
		}
	}
	p.Slow(soon)
	started := time.Now()
	if err := l.say("slow", patience); err != nil || time.Since(started) < 2*soon {
		t.Errorf("slow: %v after %s", err, time.Since(started))
	}
	p.Cut()
	if err := l.say("cut", patience); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("cut: %v", err)
	}
	if err := dial(t, p.Addr()).say("refused", patience); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("refused: %v", err)
	}
	p.Heal()
	if err := dial(t, p.Addr()).say("again", patience); err != nil {
		t.Errorf("healed: %v", err)
	}
	p.LoseAnswers(func(answer []byte) bool { return string(answer) == "lost\n" })
	other := dial(t, p.Addr())
	if err := other.say("kept", patience); err != nil {
		t.Errorf("an answer that is not to be lost: %v", err)
	}
	if err := other.say("lost", patience); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("lost: %v", err)
	}
}
