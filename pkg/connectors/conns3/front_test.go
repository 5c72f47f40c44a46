package conns3

import (
	"bufio"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync"
	"testing"
	"time"
)

// A front stands before a server: a test decides there what becomes of requests.
type front struct {
	url   string
	proxy *httputil.ReverseProxy

	mu      sync.Mutex
	down    bool
	lose    bool                                              // the answer to the next PUT
	instead func(w http.ResponseWriter, r *http.Request) bool // answers, if it says so
	hang    map[string]chan struct{}                          // by path
	writes  map[string]int                                    // PUTs that took effect, by path
}

func newFront(t testing.TB, server string) *front {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &front{url: "http://" + l.Addr().String(), hang: map[string]chan struct{}{}, writes: map[string]int{}}
	f.proxy = &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "http", Host: server})
			r.Out.Host = r.In.Host // it is signed
		},
		Transport:    &http.Transport{DisableKeepAlives: true},
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
	f.proxy.ServeHTTP(noted, r)
	if noted.status == http.StatusOK && r.Method == http.MethodPut {
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
