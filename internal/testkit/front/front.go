// Package front stands before an HTTP server: a test decides there what becomes of requests,
// of which those that write are PUTs.
package front

import (
	"bufio"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/hms-utl/extsync/internal/testkit"
)

// A Front passes requests on to a server. Its fields are changed within Set, and read so.
type Front struct {
	Addr string // its own; or the server's, and nothing stands before it

	Down    bool                                              // it answers nobody
	Lose    bool                                              // the answer to the next PUT
	Instead func(w http.ResponseWriter, r *http.Request) bool // answers, if it says so
	Rewrite func(answer *http.Response)                       // of the server, if it is set
	Hang    map[string]chan struct{}                          // PUTs wait for it, by path
	Writes  map[string]int                                    // PUTs that took effect, by path

	mu    sync.Mutex
	proxy *httputil.ReverseProxy
	turns chan struct{} // nil: all may pass at once
}

// An Option changes how New makes a front.
type Option func(*Front)

// AtOnce bounds the connections to the server: some let few wait.
func AtOnce(most int) Option { return func(f *Front) { f.turns = make(chan struct{}, most) } }

// New returns a front before the server at an address. It ends with the test. The server
// sees the host that was asked for.
func New(t testing.TB, server string, options ...Option) *Front {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	testkit.Must(t, err)
	f := &Front{Addr: l.Addr().String(), Hang: map[string]chan struct{}{}, Writes: map[string]int{}}
	for _, o := range options {
		o(f)
	}
	f.proxy = &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "http", Host: server})
			r.Out.Host = r.In.Host // signatures are over it
		},
		Transport: &http.Transport{DisableKeepAlives: true},
		ModifyResponse: func(answer *http.Response) error {
			f.mu.Lock()
			rewrite := f.Rewrite
			f.mu.Unlock()
			if rewrite != nil {
				rewrite(answer)
			}
			return nil
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { drop(w) },
	}
	srv := &http.Server{Handler: f, ReadHeaderTimeout: time.Minute}
	done := make(chan struct{})
	go func() { _ = srv.Serve(l); close(done) }()
	t.Cleanup(func() {
		_ = srv.Close()
		<-done
	})
	return f
}

// drop ends the connection without an answer.
func drop(w http.ResponseWriter) {
	if conn, _, err := w.(http.Hijacker).Hijack(); err == nil {
		_ = conn.Close()
	}
}

// Set changes or reads the fields while nobody else does.
func (f *Front) Set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

// Answers has PUTs answered by a function.
func (f *Front) Answers(put func(w http.ResponseWriter)) {
	f.Set(func() {
		f.Instead = func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method == http.MethodPut {
				put(w)
			}
			return r.Method == http.MethodPut
		}
	})
}

// Heal passes on everything as it is.
func (f *Front) Heal() { f.Set(func() { f.Instead, f.Rewrite = nil, nil }) }

// ServeHTTP answers a request.
func (f *Front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	down, instead, hang := f.Down, f.Instead, f.Hang[r.URL.EscapedPath()]
	lose := f.Lose && r.Method == http.MethodPut
	f.Lose = f.Lose && !lose
	f.mu.Unlock()
	if down {
		drop(w)
		return
	}
	if hang != nil && r.Method == http.MethodPut {
		<-hang
	}
	if instead != nil && instead(w, r) {
		return
	}
	noted := &noting{ResponseWriter: w}
	if lose {
		noted.ResponseWriter = &deaf{header: http.Header{}}
	}
	f.pass(noted, r)
	if noted.status/100 == 2 && r.Method == http.MethodPut {
		f.Set(func() { f.Writes[r.URL.EscapedPath()]++ })
	}
	if lose {
		drop(w)
	}
}

func (f *Front) pass(w http.ResponseWriter, r *http.Request) {
	if f.turns != nil {
		f.turns <- struct{}{}
		defer func() { <-f.turns }() // also if the answer breaks off, which panics
	}
	f.proxy.ServeHTTP(w, r)
}

// noting notes the status of an answer.
type noting struct {
	http.ResponseWriter
	status int
}

func (n *noting) WriteHeader(status int) {
	n.status = status
	n.ResponseWriter.WriteHeader(status)
}

func (n *noting) Unwrap() http.ResponseWriter { return n.ResponseWriter }

func (n *noting) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return http.NewResponseController(n.ResponseWriter).Hijack()
}

// deaf takes an answer that nobody gets.
type deaf struct{ header http.Header }

func (d *deaf) Header() http.Header         { return d.header }
func (d *deaf) Write(b []byte) (int, error) { return len(b), nil }
func (d *deaf) WriteHeader(int)             {}
