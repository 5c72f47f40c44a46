package connhttp

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/events"
)

// forever is longer than a test may take: what ends within it has ended by itself.
const forever = 10 * time.Minute

// rawTarget is a TCP server that reads one request of each connection and gives its
// path, without the slash, to answer. It is told nothing of HTTP.
func rawTarget(t *testing.T, answer func(conn net.Conn, path string)) connectors.Ref {
	t.Helper()
	l := listen(t, func(conn net.Conn) {
		req, err := http.ReadRequest(bufio.NewReader(conn))
		if err != nil {
			return
		}
		_, _ = io.Copy(io.Discard, req.Body) // whatever comes of it
		answer(conn, strings.TrimPrefix(req.URL.Path, "/"))
	})
	return connectors.Ref("http://" + l.Addr().String())
}

// applyKey applies an update of a key, which rawTarget sees as the path.
func applyKey(t *testing.T, conn connectors.Connector, key string) connectors.Result {
	t.Helper()
	a := testAttempt()
	a.Key = key
	return apply(t, conn, a)
}

// TestEveryStatusFromASilentTarget: whatever three digits a target answers with, and then keeps the
// connection open without a word, the call ends, and has the class of the table. With
// 101 it did not end.
func TestEveryStatusFromASilentTarget(t *testing.T) {
	url := rawTarget(t, func(conn net.Conn, path string) {
		about := "Connection: close\r\nContent-Length: 0"
		if path == "101" {
			about = "Connection: Upgrade\r\nUpgrade: x"
		}
		_, _ = fmt.Fprintf(conn, "HTTP/1.1 %s X\r\n%s\r\n\r\n", path, about)
	})
	config := Config{URL: url + "/{key}", AllowCIDRs: []string{"127.0.0.0/8"}}
	patient := openWithin(t, forever, config, deps{now: time.Now})
	// 1xx but 101 announces another answer, which does not come.
	short := openWithin(t, time.Second/2, config, deps{now: time.Now})
	var wg sync.WaitGroup
	for status := 100; status <= 999; status++ {
		conn, class, code := patient, classOf(status, events.Upsert, false) /* see TestEveryStatus */, fmt.Sprint(status)
		if status/100 == 1 && status != http.StatusSwitchingProtocols {
			conn, code = short, "timeout"
		}
		wg.Go(func() {
			got := applyKey(t, conn, fmt.Sprint(status))
			if got.Class != class || got.Code != code {
				t.Errorf("status %d: class %s, code %s (%v); want %s, %s", status, got.Class, got.Code, got.Err, class, code)
			}
		})
	}
	wg.Wait()
}

// TestEveryByteOfAnAnswer: a target stops after each byte of an answer, silent or
// gone. The update is delivered by the whole answer only.
func TestEveryByteOfAnAnswer(t *testing.T) {
	for _, whole := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n" + `{"ok":true}`,
		"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"ok\"\r\n6\r\n:true}\r\n0\r\n\r\n",
		"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
	} {
		for _, closes := range []bool{false, true} {
			t.Run(fmt.Sprintf("%.12s closes %v", whole, closes), func(t *testing.T) {
				url := rawTarget(t, func(conn net.Conn, path string) {
					var n int
					_, _ = fmt.Sscan(path, &n)
					_, _ = io.WriteString(conn, whole[:n])
					if closes {
						_ = conn.Close()
					}
				})
				config := Config{URL: url + "/{key}", AllowCIDRs: []string{"127.0.0.0/8"}}
				patient := openWithin(t, forever, config, deps{now: time.Now})
				short := patient
				if !closes {
					short = openWithin(t, time.Second/2, config, deps{now: time.Now})
				}
				var wg sync.WaitGroup
				for n := range len(whole) {
					wg.Go(func() {
						got := applyKey(t, short, fmt.Sprint(n))
						if got.Class != connectors.Transient || got.Err == nil || !closes && got.Code != "timeout" {
							t.Errorf("after %q: class %s, code %s (%v)", whole[:n], got.Class, got.Code, got.Err)
						}
					})
				}
				wg.Wait()
				if got := applyKey(t, patient, fmt.Sprint(len(whole))); got.Class != connectors.OK {
					t.Errorf("the whole answer: class %s (%v)", got.Class, got.Err)
				}
			})
		}
	}
}

// TestCutAnswers: what half an answer says of the target is not believed, what it
// says of the request is.
func TestCutAnswers(t *testing.T) {
	for _, c := range []struct {
		name, answer string
		config       Config
		want         connectors.Class
		code         string
	}{
		{name: "before its length", answer: "200 OK\r\nContent-Length: 9\r\n\r\nhalf", want: connectors.Transient, code: "closed"},
		{name: "bad chunk", answer: "200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", want: connectors.Transient, code: "transport"},
		{name: "no last chunk", answer: "200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n", want: connectors.Transient, code: "closed"},
		{name: "conflict", answer: "409 Conflict\r\nContent-Length: 99\r\n\r\n{\"v\":", config: comparing(".body.v"), want: connectors.Transient, code: "closed"},
		{name: "made a success", answer: "422 X\r\nContent-Length: 9\r\n\r\nhalf", config: ruled(".status == 422", "ok"), want: connectors.Transient, code: "closed"},
		{name: "of an encoding that is not known", answer: "200 OK\r\nContent-Encoding: br\r\nContent-Length: 99\r\n\r\nhalf", want: connectors.Transient, code: "closed"},
		{name: "of another encoding than it says", answer: "200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 99\r\n\r\nhalf", want: connectors.Transient, code: "closed"},
		{name: "whole, and not what it says", answer: "200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nhalf", want: connectors.OK, code: "200"},
		{name: "refusal", answer: "400 Bad Request\r\nContent-Length: 9\r\n\r\nhalf", want: connectors.Transient, code: "closed"},
		{name: "refusal that a rule might say more of", answer: "400 Bad Request\r\nContent-Length: 9\r\n\r\nhalf", config: ruled(".body.code == 1", "throttled"), want: connectors.Transient, code: "closed"},
		{name: "throttled", answer: "429 X\r\nContent-Length: 9\r\n\r\nhalf", config: ruled(".status == 429", "permanent"), want: connectors.Throttled, code: "429"},
		{name: "no length, no chunks", answer: "200 OK\r\n\r\nto the end", want: connectors.OK, code: "200"},
		{name: "behind what is read", answer: "200 OK\r\nContent-Length: 99999999\r\n\r\n" + strings.Repeat("x", maxBody), want: connectors.OK, code: "200"},
	} {
		t.Run(c.name, func(t *testing.T) {
			config := c.config
			config.URL = rawTarget(t, func(conn net.Conn, _ string) {
				_, _ = io.WriteString(conn, "HTTP/1.1 "+c.answer)
				_ = conn.Close()
			})
			config.AllowCIDRs = []string{"127.0.0.0/8"}
			got := applyOne(t, openWithin(t, forever, config, deps{now: time.Now}))
			wantResult(t, got, c.want, c.code)
			if c.want == connectors.Transient && got.Err != nil && !strings.Contains(got.Err.Error(), "broke off") {
				t.Errorf("error: %v", got.Err)
			}
		})
	}
}

// TestSwitchingProtocolsElsewhere: the other calls of a connector end, too.
func TestSwitchingProtocolsElsewhere(t *testing.T) {
	url := rawTarget(t, func(conn net.Conn, _ string) {
		_, _ = io.WriteString(conn, "HTTP/1.1 101 X\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
	})
	config := Config{URL: url, ProbeURL: url, Read: Read{URL: url + "/{key}"}, AllowCIDRs: []string{"127.0.0.0/8"}}
	conn := openWithin(t, forever, config, deps{now: time.Now})
	within(t, "the probe", func() {
		if err := conn.(connectors.Prober).Probe(t.Context()); connectors.ClassOf(err) != connectors.Transient {
			t.Errorf("probe: %v", err)
		}
	})
	within(t, "the read", func() {
		if _, err := conn.(connectors.Reader).Read(t.Context(), []string{"k"}); connectors.ClassOf(err) != connectors.Transient {
			t.Errorf("read: %v", err)
		}
	})
	config.Auth.OAuth2 = OAuth2{TokenURL: url, ClientID: "me", ClientSecret: "${env:TOKEN}"}
	conn = openWithin(t, forever, config, deps{now: time.Now})
	within(t, "the token endpoint", func() { wantResult(t, applyOne(t, conn), connectors.Transient, codeOAuth2) })
	config.Auth = Auth{}
	config.Proxy.URL = string(url)
	conn = openWithin(t, forever, config, deps{now: time.Now})
	within(t, "the proxy", func() { wantResult(t, applyOne(t, conn), connectors.Transient, "101") })
}

// within fails the test if f takes longer than anything here should.
func within(t *testing.T, what string, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	select {
	case <-done:
	case <-time.After(testkit.Patience):
		t.Fatalf("%s does not end", what)
	}
}
