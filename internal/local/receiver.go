package local

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// A Receiver is a small external system with an HTTP interface: it keeps the
// newest version of each key in memory and refuses older ones, as a good target
// does. It is safe for concurrent use.
type Receiver struct {
	addr string // host:port, the same over Pause and Resume

	mu     sync.Mutex
	server *http.Server  // nil while paused
	served chan struct{} // closed when server has ended
	items  map[string]Item
	calls  []Call
}

// An Item is what the receiver holds of a key.
type Item struct {
	Version versioning.Version `json:"version"`
	Op      events.Op          `json:"op"`
	Content string             `json:"content,omitempty"`
}

// A Call is a request that the receiver got, and how it answered.
type Call struct {
	Key     string
	Version versioning.Version
	Status  int
}

const (
	// receiverPath is where updates go.
	receiverPath = "/appointments"
	// maxBody bounds an update, in bytes.
	maxBody = 8 << 20
	// maxCalls bounds how many calls are remembered.
	maxCalls = 1000
	// headerTimeout bounds how long a client may take for its headers.
	headerTimeout = 5 * time.Second
)

// StartReceiver starts a receiver on a free port of 127.0.0.1. The caller closes
// it.
func StartReceiver(ctx context.Context) (*Receiver, error) {
	r := &Receiver{addr: "127.0.0.1:0", items: map[string]Item{}}
	return r, r.Resume(ctx)
}

// URL returns where updates are to be sent. GET on it lists what is held.
func (r *Receiver) URL() string { return "http://" + r.addr + receiverPath }

// Resume starts to listen, again on the same port after Pause.
func (r *Receiver) Resume(ctx context.Context) error {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", r.addr)
	if err != nil {
		return fmt.Errorf("receiver: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+receiverPath, r.receive)
	mux.HandleFunc("GET "+receiverPath, r.list)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: headerTimeout}
	served := make(chan struct{})
	r.mu.Lock()
	r.addr, r.server, r.served = l.Addr().String(), server, served
	r.mu.Unlock()
	go func() {
		defer close(served)
		_ = server.Serve(l) // ends with Pause; a listener that broke shows at the next delivery
	}()
	return nil
}

// Pause closes the port and all connections, as a crash of the system would.
// What it holds stays.
func (r *Receiver) Pause() error {
	r.mu.Lock()
	server, served := r.server, r.served
	r.server = nil
	r.mu.Unlock()
	if server == nil {
		return nil
	}
	err := server.Close()
	<-served
	return err
}

// Close stops the receiver for good.
func (r *Receiver) Close() error { return r.Pause() }

// Calls returns the requests with updates so far, the oldest first.
func (r *Receiver) Calls() []Call {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]Call(nil), r.calls...)
}

// Item returns what is held of a key.
func (r *Receiver) Item(key string) (Item, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	item, ok := r.items[key]
	return item, ok
}

// receive takes an update in CloudEvents binary mode.
func (r *Receiver) receive(w http.ResponseWriter, req *http.Request) {
	key, keyErr := url.PathUnescape(req.Header.Get(events.HeaderSubject))
	version, versionErr := versioning.Parse(req.Header.Get(events.HeaderVersion))
	body, bodyErr := io.ReadAll(http.MaxBytesReader(w, req.Body, maxBody))
	if err := errors.Join(keyErr, versionErr, bodyErr); err != nil || key == "" {
		http.Error(w, "not an update of extsync", http.StatusBadRequest)
		return
	}
	next := Item{Version: version, Op: events.Op(req.Header.Get(events.HeaderOp)), Content: string(body)}
	held, status := r.take(key, next)
	// Whoever is refused learns what is here.
	w.Header().Set(events.HeaderVersion, held.String())
	w.WriteHeader(status)
}

// take applies an update unless a newer version is held. It returns the version
// that is held then, and the answer's status.
func (r *Receiver) take(key string, next Item) (versioning.Version, int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	status, held := http.StatusOK, r.items[key]
	if order, err := next.Version.Compare(held.Version); err != nil || order < 0 {
		status = http.StatusConflict
	} else {
		r.items[key], held = next, next
	}
	if len(r.calls) == maxCalls {
		r.calls = r.calls[1:]
	}
	r.calls = append(r.calls, Call{Key: key, Version: next.Version, Status: status})
	return held.Version, status
}

func (r *Receiver) list(w http.ResponseWriter, _ *http.Request) {
	r.mu.Lock()
	data, err := json.MarshalIndent(r.items, "", "  ")
	r.mu.Unlock()
	if err != nil {
		http.Error(w, "cannot write the list", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(append(data, '\n')) // the client may have gone
}
