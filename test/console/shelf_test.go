package console_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/hms-utl/extsync/internal/testkit/front"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// A shelf is a target behind HTTP: it keeps the newest version of each key, refuses older
// ones, and can be read. Tests decide in the front before it what becomes of requests.
type shelf struct {
	*front.Front

	mu   sync.Mutex
	held map[string]held
}

// held is what the shelf holds of a key.
type held struct {
	version versioning.Version
	body    json.RawMessage
}

func newShelf(t testing.TB) *shelf {
	t.Helper()
	s := &shelf{held: map[string]held{}}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	s.Front = front.New(t, strings.TrimPrefix(server.URL, "http://"))
	return s
}

// connector is the configuration of a channel to the shelf; room keeps the keys of several
// channels apart.
func (s *shelf) connector(room string) map[string]any {
	at := "http://" + s.Addr + "/" + room + "/{key}"
	return map[string]any{"url": at, "method": http.MethodPut, "allow_cidrs": []string{"127.0.0.0/8"}, "read": map[string]any{"url": at}}
}

// path is that of a key.
func path(room, key string) string { return "/" + room + "/" + key }

// change has somebody else change what is held, at the same version.
func (s *shelf) change(room, key, body string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.held[path(room, key)]
	h.body = json.RawMessage(body)
	s.held[path(room, key)] = h
}

func (s *shelf) holds(room, key string) (version string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.held[path(room, key)].version.String()
}

// ServeHTTP answers what the front lets through.
func (s *shelf) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the caller has gone
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	at := r.URL.Path
	h, there := s.held[at]
	if r.Method == http.MethodGet {
		if !there {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set(events.HeaderVersion, h.version.String())
		_, _ = w.Write(h.body) // the caller may have gone
		return
	}
	v, err := versioning.Parse(r.Header.Get(events.HeaderVersion))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if order, err := v.Compare(h.version); there && (err != nil || order < 0) {
		w.Header().Set(events.HeaderVersion, h.version.String())
		w.WriteHeader(http.StatusConflict)
		return
	}
	s.held[at] = held{v, body}
	w.Header().Set(events.HeaderVersion, v.String())
}
