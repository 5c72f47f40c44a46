package connredis_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connredis"
)

// speak is a server that gives one answer to each command but those of a login.
func speak(t *testing.T, answer string) (config []byte) {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	testkit.Must(t, err)
	var all sync.WaitGroup
	t.Cleanup(func() {
		_ = l.Close() // only ends Accept
		all.Wait()
	})
	all.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer conn.Close() //nolint:errcheck // it is the test's end
				for in := bufio.NewReader(conn); ; {
					name, err := command(in)
					if err != nil {
						return
					}
					reply := answer
					if name == "hello" {
						reply = "*0\r\n"
					}
					if _, err := io.WriteString(conn, reply); err != nil {
						return
					}
				}
			})
		}
	})
	return fmt.Appendf(nil, "url: redis://%s\nallow_cidrs: [127.0.0.0/8]\n", l.Addr())
}

// command reads a command and returns its name.
func command(in *bufio.Reader) (name string, err error) {
	parts, err := number(in, '*')
	for i := 0; i < parts && err == nil; i++ {
		var size int
		if size, err = number(in, '$'); err != nil {
			return "", err
		}
		text := make([]byte, size+2)
		if _, err = io.ReadFull(in, text); i == 0 {
			name = string(text[:size])
		}
	}
	return name, err
}

func number(in *bufio.Reader, sign byte) (n int, err error) {
	line, err := in.ReadString('\n')
	if err != nil {
		return 0, err
	}
	_, err = fmt.Sscanf(line, string(sign)+"%d\r\n", &n)
	return n, err
}

// Each error of a server means what the table says, as the library reads it.
func TestErrorsOfTheServer(t *testing.T) {
	all := connredis.Codes()
	if len(all) < 20 {
		t.Errorf("there are %d codes", len(all))
	}
	all = append(all, connectors.Meaning{Code: "ERR", Class: connectors.Transient})
	for _, m := range all {
		t.Run(m.Code, func(t *testing.T) {
			t.Parallel()
			code, prefix := m.Code, m.Code+" value-canary 127.0.0.1:1"
			if short, said, ok := strings.Cut(m.Code, " ("); ok {
				code, prefix = short, "ERR "+strings.TrimSuffix(said, ")")
			}
			c := openWith(t, env(), speak(t, "-"+prefix+"\r\n"))
			res := apply(t, c, attempt("k", 1, "{}"))[0]
			want(t, res, m.Class, code)
			if res.Err != nil && strings.Contains(res.Err.Error(), "value-canary") {
				t.Errorf("the error repeats the server's words: %v", res.Err)
			}
			if !strings.HasPrefix(res.Response, prefix) {
				t.Errorf("the response is %q", res.Response)
			}
			if err := c.Probe(t.Context()); err == nil || connectors.ClassOf(err) != m.Class {
				t.Errorf("Probe: %v", err)
			}
		})
	}
}

// A server that says what no server says gets nothing settled.
func TestAnswersThatAreNone(t *testing.T) {
	for name, answer := range map[string]string{
		"null": "$-1\r\n", "null array": "*-1\r\n", "nothing in it": "*0\r\n", "one element": "*1\r\n$1\r\nx\r\n", "a text": "$2\r\nOK\r\n", "a status": "+OK\r\n",
		"arrays in it": "*2\r\n*0\r\n*0\r\n", "numbers in it": "*2\r\n:1\r\n:2\r\n", "an older version": "*2\r\n$19\r\n0000000000000000000\r\n$0\r\n\r\n",
		"a version before": "*2\r\n$19\r\n0000000000000000001\r\n$0\r\n\r\n", "no length": "*x\r\n", "garbage": "\x00\xff\r\n", "HTTP": "HTTP/1.1 400 Bad Request\r\n\r\n",
		"an error in it": "*2\r\n-ERR x\r\n-ERR y\r\n", "a length below zero": "$-9\r\n", "an end": "$5\r\nab",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := openWith(t, env(), speak(t, answer))
			ctx, cancel := context.WithTimeout(t.Context(), testkit.Patience)
			defer cancel()
			if name == "an end" {
				cancel() // the rest never comes
			}
			res := c.Apply(ctx, []connectors.Attempt{attempt("k", 7, "{}")})[0]
			if res.Class != connectors.Transient && (res.Class != connectors.Conflict || res.Code != "foreign") {
				t.Errorf("class %s, code %q (%v)", res.Class, res.Code, res.Err)
			}
			if held, err := c.Read(ctx, []string{"k"}); err == nil {
				t.Errorf("it is said to hold %v", held)
			}
		})
	}
}
