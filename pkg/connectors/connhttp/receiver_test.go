package connhttp

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// refusedPayload is in a payload that a receiver refuses for good.
const refusedPayload = "unacceptable"

// A receiver is a real HTTP server that holds entities as a target does. A
// guarded one refuses what is older than what it holds.
type receiver struct {
	guarded bool
	token   string // of every request

	mu     sync.Mutex
	held   map[string]connectors.Held
	bodies map[string][]byte // of upserts
	writes map[string]int
	hang   map[string]chan struct{}
	cutOff bool                      // after the next write, before its answer
	answer func(http.ResponseWriter) // instead of what it would do

	ids *ids // nil: it has none of its own

	address string
	server  *http.Server
	served  sync.WaitGroup
}

func newReceiver(t *testing.T, guarded bool, token string) *receiver {
	t.Helper()
	r := &receiver{
		guarded: guarded, token: token, address: "127.0.0.1:0",
		held: map[string]connectors.Held{}, bodies: map[string][]byte{}, writes: map[string]int{}, hang: map[string]chan struct{}{},
	}
	r.start(t)
	t.Cleanup(r.stop)
	return r
}

// start listens, after the first time at the same address as before.
func (r *receiver) start(t *testing.T) {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", r.address)
	if err != nil {
		t.Fatal(err)
	}
	r.address = l.Addr().String()
	r.server = &http.Server{Handler: r}
	r.served.Go(func() {
		if err := r.server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("receiver: %v", err)
		}
	})
}

func (r *receiver) stop() {
	_ = r.server.Close() // listeners have nothing to lose
	r.served.Wait()
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if req.Header.Get("Authorization") != "Bearer "+r.token {
		http.Error(w, "who are you?", http.StatusUnauthorized)
		return
	}
	if req.Method == http.MethodGet && r.ids == nil {
		r.tell(w, req.URL)
		return
	}
	key, err := url.PathUnescape(req.Header.Get(events.HeaderSubject))
	if err != nil {
		http.Error(w, "ce-subject", http.StatusBadRequest)
		return
	}
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return
	}
	r.mu.Lock()
	hang, answer := r.hang[key], r.answer
	r.mu.Unlock()
	if hang != nil {
		select {
		case <-hang:
		case <-req.Context().Done():
			return
		}
	}
	if answer != nil {
		answer(w)
		return
	}
	if r.ids != nil {
		r.mu.Lock()
		admitted := r.ids.admit(w, req)
		r.mu.Unlock()
		if !admitted {
			return
		}
	}
	r.write(w, req.Header, key, body)
}

// tell answers a probe, or what is held of a key.
func (r *receiver) tell(w http.ResponseWriter, u *url.URL) {
	escaped, asked := strings.CutPrefix(u.EscapedPath(), "/entities/")
	if !asked {
		return // a probe
	}
	key, err := url.PathUnescape(escaped)
	if err != nil {
		http.Error(w, "key", http.StatusBadRequest)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	held, there := r.held[key]
	if !there {
		http.NotFound(w, nil)
		return
	}
	w.Header().Set(events.HeaderVersion, held.Version.String())
	w.Header().Set(HeaderDigest, held.Digest.String())
	w.Header().Set(events.HeaderOp, string(held.Op))
	_, _ = w.Write(r.bodies[key]) // whoever asks may have gone
}

// write does what an update says, in one step for each key.
func (r *receiver) write(w http.ResponseWriter, h http.Header, key string, body []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var next connectors.Held
	var err error
	next.Op = events.Op(h.Get(events.HeaderOp))
	if next.Version, err = versioning.Parse(h.Get(events.HeaderVersion)); err != nil {
		http.Error(w, "ce-entityversion", http.StatusBadRequest)
		return
	}
	if err := next.Digest.UnmarshalText([]byte(h.Get(HeaderDigest))); err != nil {
		http.Error(w, HeaderDigest, http.StatusBadRequest)
		return
	}
	if h.Get("Content-Type") != structuredContent && next.Digest != versioning.Sum(string(next.Op), body) {
		http.Error(w, "the digest is of something else", http.StatusBadRequest)
		return
	}
	if strings.Contains(string(body), refusedPayload) {
		http.Error(w, "no", http.StatusUnprocessableEntity)
		return
	}
	var status int
	if verdict, _ := versioning.Guard(r.held[key].Tag, next.Tag, versioning.Version{}); r.guarded &&
		(verdict == versioning.Stale || verdict == versioning.Conflict) {
		w.Header().Set(events.HeaderVersion, r.held[key].Version.String())
		w.Header().Set(HeaderDigest, r.held[key].Digest.String())
		status = http.StatusConflict
	} else {
		status = r.store(key, next)
		if delete(r.bodies, key); next.Op == events.Upsert {
			r.bodies[key] = body
		}
	}
	if r.cutOff {
		r.cutOff = false
		panic(http.ErrAbortHandler) // closes the connection without an answer
	}
	w.WriteHeader(status)
}

func (r *receiver) store(key string, next connectors.Held) int {
	r.writes[key]++
	if next.Op == events.Delete && !r.guarded {
		if _, there := r.held[key]; !there {
			return http.StatusNotFound
		}
		delete(r.held, key)
		return http.StatusNoContent
	}
	r.held[key] = next
	return http.StatusNoContent
}

func (r *receiver) read(_ *testing.T, keys ...string) map[string]connectors.Held {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := map[string]connectors.Held{}
	for _, key := range keys {
		if held, there := r.held[key]; there {
			out[key] = held
		}
	}
	return out
}

func (r *receiver) url() string { return "http://" + r.address }
