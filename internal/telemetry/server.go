package telemetry

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"strings"
	"time"

	"github.com/hms-utl/extsync/pkg/connectors"
)

const (
	headerTimeout   = 5 * time.Second
	answerTimeout   = 2 * time.Minute // a profile takes as long as was asked for
	maxHeaderBytes  = 16 << 10
	shutdownTimeout = 2 * time.Second
)

// Serve answers on an address until stop is called. It returns the address that
// it has got, which for port 0 is a free one.
func Serve(ctx context.Context, address string, h http.Handler) (addr net.Addr, stop func(), err error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: telemetry.listen: %w", connectors.ErrConfig, err)
	}
	srv := &http.Server{
		Handler: h, ReadHeaderTimeout: headerTimeout, ReadTimeout: headerTimeout,
		WriteTimeout: answerTimeout, IdleTimeout: answerTimeout, MaxHeaderBytes: maxHeaderBytes,
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.Serve(l) // ends with stop
	}()
	return l.Addr(), func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
		defer cancel()
		if err := srv.Shutdown(ctx); errors.Is(err, context.DeadlineExceeded) {
			_ = srv.Close() // a profile is being taken
		}
		<-done
	}, nil
}

// OperatorHandler serves /metrics, /healthz and /readyz. problems says why the
// process is not ready, notes what is not well although it is.
func OperatorHandler(metrics http.Handler, problems, notes func() []string) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", metrics)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, "alive") })
	mux.Handle("GET /readyz", ReadyHandler(problems, notes))
	return mux
}

// ReadyHandler answers 200, or 503 with one problem on each line. Notes follow, after
// "degraded: ".
func ReadyHandler(problems, notes func() []string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		status, lines := http.StatusOK, []string{"ready"}
		if found := problems(); len(found) > 0 {
			status, lines = http.StatusServiceUnavailable, found
		}
		for _, note := range notes() {
			lines = append(lines, "degraded: "+note)
		}
		answer(w, status, strings.Join(lines, "\n"))
	})
}

func answer(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = fmt.Fprintln(w, text) // who asked has gone
}

// ProfileHandler serves net/http/pprof. Profiles show what a process works on:
// it is for a loopback address. The command line is left out: it may hold an
// address with a password. A name that was made to point to this machine, as a web page
// can do, is refused.
func ProfileHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !directHost(r.Host) {
			answer(w, http.StatusForbidden, "ask by localhost or the address itself: under another name a web page may be asking")
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// directHost reports whether a request was made to an address, not to a name that
// somebody else may have let point here.
func directHost(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	return strings.EqualFold(host, "localhost") || net.ParseIP(strings.Trim(host, "[]")) != nil
}
