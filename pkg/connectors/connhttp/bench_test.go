package connhttp

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// A sink answers every request of HTTP/1.1 in the same way. It allocates nothing
// for one, so that what is counted beside it is the caller's.
func sink(tb testing.TB, answer string) string {
	tb.Helper()
	l, err := new(net.ListenConfig).Listen(tb.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go serveRaw(conn, []byte(answer))
		}
	}()
	return "http://" + l.Addr().String()
}

// serveRaw ends when the other side closes the connection.
func serveRaw(conn net.Conn, answer []byte) {
	defer func() { _ = conn.Close() }()
	in := bufio.NewReader(conn)
	for {
		length := 0
		for {
			line, err := in.ReadSlice('\n')
			if err != nil {
				return
			}
			if digits, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
				for _, d := range bytes.TrimSpace(digits) {
					length = 10*length + int(d-'0')
				}
			}
			if len(line) == len("\r\n") {
				break
			}
		}
		if _, err := in.Discard(length); err != nil {
			return
		}
		if _, err := conn.Write(answer); err != nil {
			return
		}
	}
}

// Answers of a sink.
const (
	emptyAnswer = "HTTP/1.1 204 No Content\r\n\r\n"
	smallAnswer = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 15\r\n\r\n{\"stored\":true}"
)

// benchmarkAttempt is an update of 300 bytes, as a worker hands it over.
func benchmarkAttempt() connectors.Attempt {
	u := events.Update{
		Channel: "portal", Key: "entity-0001234", Version: versioning.Must(versioning.Number(7)),
		Payload: []byte(`{"text":"` + strings.Repeat("x", 289) + `"}`), Time: time.Date(2026, 2, 3, 4, 5, 6, 0, time.UTC),
	}.WithDefaults()
	return connectors.Attempt{Update: u, Digest: u.Digest(), Number: 1}
}

// BenchmarkApply measures one call: through the connector, and as the smallest
// loop with net/http makes it ("floor").
func BenchmarkApply(b *testing.B) {
	for _, c := range []struct {
		name, path, answer string
		config             Config
	}{
		{"fixed URL", "/u", emptyAnswer, Config{}},
		{"key in the URL", "/u/{key}?v={version}", emptyAnswer, Config{Method: http.MethodPut}},
		{"with an answer", "/u", smallAnswer, Config{}},
		{"with headers", "/u", emptyAnswer, Config{
			Headers: map[string]connectors.Ref{"X-Tenant": "a"}, Auth: Auth{Bearer: "${env:TOKEN}"},
		}},
	} {
		b.Run(c.name, func(b *testing.B) {
			c.config.URL = connectors.Ref(sink(b, c.answer) + c.path)
			c.config.AllowCIDRs = []string{"127.0.0.0/8"}
			// As in a worker, the call has an end already.
			ctx, cancel := context.WithTimeout(b.Context(), time.Hour/2)
			defer cancel()
			env := testEnv()
			env.Timeout = time.Hour
			conn, err := New(b.Context(), env, c.config)
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = conn.Close(b.Context()) }()
			attempts := []connectors.Attempt{benchmarkAttempt()}
			b.ReportAllocs()
			for b.Loop() {
				if res := conn.Apply(ctx, attempts); res[0].Class != connectors.OK {
					b.Fatal(res[0].Err)
				}
			}
		})
	}
	b.Run("floor", func(b *testing.B) {
		client := &http.Client{Transport: &http.Transport{DisableCompression: true}}
		defer client.CloseIdleConnections()
		url, a := sink(b, emptyAnswer)+"/u", benchmarkAttempt()
		b.ReportAllocs()
		for b.Loop() {
			if err := floor(b, client, url, &a); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func floor(b *testing.B, client *http.Client, url string, a *connectors.Attempt) error {
	b.Helper()
	req, err := http.NewRequestWithContext(b.Context(), http.MethodPost, url, bytes.NewReader(a.Payload))
	if err != nil {
		return err
	}
	req.Header.Set(events.HeaderSubject, a.Key)
	req.Header.Set(events.HeaderVersion, a.Version.String())
	req.Header.Set(events.HeaderOp, string(a.Op))
	req.Header.Set("Content-Type", a.ContentType)
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }() // only read from
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		return err
	}
	if res.StatusCode/100 != 2 {
		return fmt.Errorf("status %d", res.StatusCode)
	}
	return nil
}
