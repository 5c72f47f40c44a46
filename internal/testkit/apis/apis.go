// Package apis has targets for tests that keep their own names of what they are given: one
// that makes ids, one that wants its ETags back, one with idempotency keys. Each does what
// the public documents of such APIs say, no more: whoever creates twice has two objects.
// All are safe for concurrent use.
package apis

import (
	"encoding/json"
	"io"
	"net/http"
	"sync"
	"time"
)

// maxBody bounds what an API takes, in bytes.
const maxBody = 1 << 20

// A Fate is what becomes of one request.
type Fate int

// The fates.
const (
	Answered Fate = iota
	// Refused: the connection ends before the API has seen the request.
	Refused
	// Lost: the API does what it is asked to, and the connection ends before the answer.
	Lost
)

// Lossy stands between clients and an API. Next, if it is there, decides about each request
// in turn.
type Lossy struct {
	API  http.Handler
	mu   sync.Mutex
	next func(*http.Request) Fate
}

// Decide has next decide about the requests from now on; nil answers all.
func (l *Lossy) Decide(next func(*http.Request) Fate) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.next = next
}

// ServeHTTP passes a request on, as its fate is.
func (l *Lossy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	l.mu.Lock()
	fate := Answered
	if l.next != nil {
		fate = l.next(r)
	}
	l.mu.Unlock()
	switch fate {
	case Refused:
		panic(http.ErrAbortHandler) // closes the connection without an answer
	case Lost:
		l.API.ServeHTTP(&deaf{header: http.Header{}}, r)
		panic(http.ErrAbortHandler)
	default:
		l.API.ServeHTTP(w, r)
	}
}

// deaf takes an answer that nobody gets.
type deaf struct{ header http.Header }

func (d *deaf) Header() http.Header         { return d.header }
func (d *deaf) Write(b []byte) (int, error) { return len(b), nil }
func (d *deaf) WriteHeader(int)             {}

// An Object is one thing that an API holds.
type Object struct {
	ID   string          `json:"id"`
	Key  string          `json:"external_id"`
	Data json.RawMessage `json:"data"`

	made time.Time
}

func readBody(w http.ResponseWriter, r *http.Request) ([]byte, bool) {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	if err != nil || len(body) > maxBody {
		http.Error(w, "the body is broken or too large", http.StatusBadRequest)
		return nil, false
	}
	return body, true
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // a client that has gone needs no answer
}
