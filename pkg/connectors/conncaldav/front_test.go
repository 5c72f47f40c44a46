package conncaldav_test

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

// A front stands before a server: a test decides there what becomes of requests.
type front struct {
	addr  string
	proxy *httputil.ReverseProxy
	// turns bounds the connections to the server: Radicale lets five wait, and the next one
	// comes again after a second.
	turns chan struct{}

	mu      sync.Mutex
	down    bool
	lose    bool                                              // the answer to the next PUT
	instead func(w http.ResponseWriter, r *http.Request) bool // answers, if it says so
	rewrite func(answer *http.Response)                       // of the server, if it is set
	hang    map[string]chan struct{}                          // by path
	writes  map[string]int                                    // PUTs that took effect, by path
}

func newFront(t testing.TB, server string) *front {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	testkit.Must(t, err)
	f := &front{addr: l.Addr().String(), turns: make(chan struct{}, 4), hang: map[string]chan struct{}{}, writes: map[string]int{}}
	f.proxy = &httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(&url.URL{Scheme: "http", Host: server}) },
		Transport: &http.Transport{DisableKeepAlives: true},
		ModifyResponse: func(answer *http.Response) error {
			f.mu.Lock()
			rewrite := f.rewrite
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

func (f *front) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

// answers has PUTs answered by a function.
func (f *front) answers(put func(w http.ResponseWriter)) {
	f.set(func() {
		f.instead = func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method == http.MethodPut {
				put(w)
			}
			return r.Method == http.MethodPut
		}
	})
}

func (f *front) heal() { f.set(func() { f.instead, f.rewrite = nil, nil }) }

func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	down, instead, hang := f.down, f.instead, f.hang[r.URL.EscapedPath()]
	lose := f.lose && r.Method == http.MethodPut
	f.lose = f.lose && !lose
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
	f.turns <- struct{}{}
	func() {
		defer func() { <-f.turns }() // also if the answer breaks off, which panics
		f.proxy.ServeHTTP(noted, r)
	}()
	if noted.status/100 == 2 && r.Method == http.MethodPut {
		f.set(func() { f.writes[r.URL.EscapedPath()]++ })
	}
	if lose {
		drop(w)
	}
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
