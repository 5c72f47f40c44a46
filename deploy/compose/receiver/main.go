// Receiver is the HTTP target of the compose files: it keeps the newest version
// of each key in memory, refuses older ones, and shows what it holds.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"sync"
	"syscall"
	"time"
)

const (
	address = ":8080"
	maxBody = 1 << 20
	maxKeys = 100_000
)

// held is what the receiver keeps of a key.
type held struct {
	Version string          `json:"version"`
	Body    json.RawMessage `json:"body,omitempty"`
}

type store struct {
	mu   sync.Mutex
	keys map[string]held
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	srv := &http.Server{Addr: address, Handler: routes(&store{keys: map[string]held{}}), ReadTimeout: 10 * time.Second}
	context.AfterFunc(ctx, func() { _ = srv.Close() })
	if err := srv.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1) //nolint:gocritic,forbidigo // there is nothing left to stop
	}
}

func routes(s *store) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("GET /keys/{key}", s.get)
	mux.HandleFunc("PUT /keys/{key}", s.put)
	return mux
}

func (s *store) get(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	h, ok := s.keys[r.PathValue("key")]
	s.mu.Unlock()
	if !ok {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(h) // who asked has gone
}

// put applies a version unless a newer one is there; then it answers 412 and
// which one that is, as docs/contract.md asks of a target that checks versions.
func (s *store) put(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	version := r.Header.Get("ce-entityversion")
	if err != nil || !json.Valid(body) || version == "" {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	key := r.PathValue("key")
	s.mu.Lock()
	defer s.mu.Unlock()
	old, ok := s.keys[key]
	switch {
	case ok && older(version, old.Version):
		w.Header().Set("ce-entityversion", old.Version)
		w.WriteHeader(http.StatusPreconditionFailed)
	case !ok && len(s.keys) >= maxKeys:
		w.WriteHeader(http.StatusInsufficientStorage)
	default:
		s.keys[key] = held{Version: version, Body: body}
	}
}

// older compares numbers as numbers, and times, of one form here, as text.
func older(a, b string) bool {
	x, err1 := strconv.ParseUint(a, 10, 64)
	y, err2 := strconv.ParseUint(b, 10, 64)
	if err1 != nil || err2 != nil {
		return a < b
	}
	return x < y
}
