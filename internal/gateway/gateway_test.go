package gateway_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"github.com/hms-utl/extsync/internal/gateway"
	"github.com/hms-utl/extsync/internal/testkit"
)

const subject = "sync.adm.http"

const accounts = `
listen: "127.0.0.1:-1"
accounts {
  EXTSYNC {
    users: [{user: admin, password: x}]
    exports: [{service: "sync.>", accounts: [GATEWAY]}]
  }
  GATEWAY {
    users: [{user: gateway, password: x}]
    imports: [{service: {account: EXTSYNC, subject: "sync.adm.http"}}]
  }
}
`

// A setup is a server with the accounts of both sides, and a connection in each.
type setup struct {
	t              *testing.T
	admin, gateway *nats.Conn
}

func newSetup(t *testing.T) *setup {
	t.Helper()
	file := filepath.Join(t.TempDir(), "nats.conf")
	testkit.Must(t, os.WriteFile(file, []byte(accounts), 0o600))
	opts, err := server.ProcessConfigFile(file)
	testkit.Must(t, err)
	opts.NoLog, opts.NoSigs = true, true
	srv, err := server.NewServer(opts)
	testkit.Must(t, err)
	srv.Start()
	t.Cleanup(func() { srv.Shutdown(); srv.WaitForShutdown() })
	if !srv.ReadyForConnections(testkit.Patience) {
		t.Fatal("the server does not take connections")
	}
	connect := func(user string) *nats.Conn {
		nc, err := nats.Connect(srv.ClientURL(), nats.UserInfo(user, "x"))
		testkit.Must(t, err)
		t.Cleanup(nc.Close)
		return nc
	}
	return &setup{t: t, admin: connect("admin"), gateway: connect("gateway")}
}

func (s *setup) serve(h http.HandlerFunc) *gateway.Server {
	s.t.Helper()
	server, err := gateway.Serve(s.admin, subject, h, zerolog.Nop())
	testkit.Must(s.t, err)
	testkit.Must(s.t, s.admin.Flush())
	return server
}

func (s *setup) forward(ctx context.Context, r *http.Request, body string) (gateway.Answer, error) {
	return gateway.Forward(ctx, s.gateway, subject, r, []byte(body))
}

func request(t *testing.T, path string) *http.Request {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPut, path, nil)
	r.Header.Set("Authorization", "Bearer x")
	r.Header.Set("Cookie", "theirs=secret; extsync_session=x; extsync_session=y")
	return r
}

// What is asked for and what is answered arrive as they were sent, up to what the broker
// carries.
func TestForward(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	if _, err := s.forward(t.Context(), request(t, "/"), ""); !errors.Is(err, gateway.ErrNobody) {
		t.Errorf("nobody is there: %v", err)
	}
	sizes := map[string]int{"/fits": 1<<20 - 500, "/header": 1 << 20, "/body": 3 << 20}
	server := s.serve(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		switch {
		case r.URL.Path == "/panic":
			panic(http.ErrAbortHandler)
		case sizes[r.URL.Path] > 0:
			_, _ = io.WriteString(w, strings.Repeat("x", sizes[r.URL.Path])) // a recorder takes everything
			return
		case err != nil || string(body) != "body" || r.Method != http.MethodPut || r.URL.RawQuery != "q=%2F" || r.URL.Path != "/a/b" || r.URL.EscapedPath() != "/a%2Fb" ||
			r.Header.Get("Authorization") != "Bearer x" || r.Header.Get("Cookie") != "extsync_session=x; extsync_session=y" || !gateway.Relayed(r.Context()) || r.RemoteAddr != "a gateway, which names 192.0.2.1:1234":
			t.Errorf("request %+v, body %q, %v", r, body, err)
		}
		w.Header().Set("ETag", `"7"`)
		w.Header()["Set-Cookie"] = []string{"extsync_session=z; Secure", "theirs=secret", "extsync_login=; Path=/"}
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, "answer") // likewise
	})
	a, err := s.forward(t.Context(), request(t, "/a%2Fb?q=%2F"), "body")
	if err != nil || a.Status != http.StatusCreated || string(a.Body) != "answer" || a.Header.Get("ETag") != `"7"` || len(a.Header) != 2 ||
		strings.Join(a.Header["Set-Cookie"], ", ") != "extsync_session=z; Secure, extsync_login=; Path=/" {
		t.Errorf("answer %+v, %v", a, err)
	}
	if a, err := s.forward(t.Context(), request(t, "/fits"), ""); err != nil || len(a.Body) != sizes["/fits"] || a.Status != http.StatusOK {
		t.Errorf("an answer that fits: %d of %d bytes, %v", a.Status, len(a.Body), err)
	}
	for path, want := range map[string]error{"/header": gateway.ErrAnswerTooLarge, "/body": gateway.ErrAnswerTooLarge, "/panic": gateway.ErrBroken, "/" + strings.Repeat("x", 9000): gateway.ErrMalformed} {
		if _, err := s.forward(t.Context(), request(t, path), ""); !errors.Is(err, want) {
			t.Errorf("%.9s: %v", path, err)
		}
	}
	if _, err := s.forward(t.Context(), request(t, "/"), strings.Repeat("x", 1<<20)); !errors.Is(err, gateway.ErrTooLarge) {
		t.Errorf("a request that is too large: %v", err)
	}
	testkit.Must(t, server.Stop(t.Context()))
	if _, err := s.forward(t.Context(), request(t, "/"), ""); !errors.Is(err, gateway.ErrNobody) {
		t.Errorf("it has stopped: %v", err)
	}
}

// Whoever does not hear of a request does not know whether it was done; too many at once
// are refused; what is in hand is answered before a server stops.
func TestRequestsInHand(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	const most = 32
	begun, goOn := make(chan struct{}, most), make(chan struct{})
	server := s.serve(func(http.ResponseWriter, *http.Request) {
		begun <- struct{}{}
		<-goOn
	})
	ctx, giveUp := context.WithCancel(t.Context())
	unheard := make(chan error, 1)
	go func() {
		_, err := s.forward(ctx, request(t, "/"), "")
		unheard <- err
	}()
	<-begun
	giveUp()
	if err := <-unheard; !errors.Is(err, gateway.ErrNoAnswer) {
		t.Errorf("given up: %v", err)
	}
	var all sync.WaitGroup
	for range most - 1 {
		all.Go(func() {
			if a, err := s.forward(t.Context(), request(t, "/"), ""); err != nil || a.Status != http.StatusOK {
				t.Errorf("in hand: %+v, %v", a, err)
			}
		})
		<-begun
	}
	if _, err := s.forward(t.Context(), request(t, "/"), ""); !errors.Is(err, gateway.ErrOverloaded) {
		t.Errorf("one too many: %v", err)
	}
	stopped := make(chan error, 1)
	go func() { stopped <- server.Stop(t.Context()) }()
	testkit.Eventually(t, "no more to be taken", func() bool {
		_, err := s.forward(t.Context(), request(t, "/"), "")
		return errors.Is(err, gateway.ErrNobody)
	})
	close(goOn)
	all.Wait()
	testkit.Must(t, <-stopped)
}

// The answer to what has not crossed an import would go wherever the sender says, with the
// administrator's rights.
func TestOnlyAcrossAnImport(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	asked := make(chan string, 2)
	s.serve(func(_ http.ResponseWriter, r *http.Request) { asked <- r.URL.Path })
	msg := nats.NewMsg(subject)
	msg.Reply = "$KV.sync_tokens.evil"
	msg.Header.Set("Extsync-Method", http.MethodGet)
	msg.Header.Set("Extsync-Path", "/direct")
	testkit.Must(t, s.admin.PublishMsg(msg))
	testkit.Must(t, s.admin.Flush())
	if _, err := s.forward(t.Context(), request(t, "/across"), ""); err != nil {
		t.Error(err)
	}
	if first := <-asked; first != "/across" {
		t.Errorf("it has done %s", first)
	}
}
