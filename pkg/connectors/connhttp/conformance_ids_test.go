package connhttp

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/hms-utl/extsync/pkg/connectors/connectortest"
	"github.com/hms-utl/extsync/pkg/events"
)

// ids make a receiver one that has ids of its own: POST to /items makes an object
// whatever is there, PUT and DELETE want its id. All but where is what the receiver does.
type ids struct {
	last int
	keys map[string]string // by id
}

// admit answers what the receiver cannot, and reports whether it is to go on. The caller
// holds the receiver's lock.
func (i *ids) admit(w http.ResponseWriter, req *http.Request) bool {
	if req.Method == http.MethodGet {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(i.of(req.URL.Query().Get("key"))) // who has gone needs no answer
		return false
	}
	id, named := strings.CutPrefix(req.URL.Path, "/items/")
	if !named {
		i.last++
		id = strconv.Itoa(i.last)
		i.keys[id], _ = url.PathUnescape(req.Header.Get(events.HeaderSubject))
		w.Header().Set("X-Id", id)
		return true
	}
	if _, there := i.keys[id]; !there {
		http.NotFound(w, req)
		return false
	}
	if req.Method == http.MethodDelete {
		delete(i.keys, id)
	}
	return true
}

// of returns the ids of a key.
func (i *ids) of(key string) []string {
	out := []string{}
	for id, k := range i.keys {
		if k == key {
			out = append(out, id)
		}
	}
	return out
}

// TestConformanceWithIDs runs the suite against a receiver that makes ids.
func TestConformanceWithIDs(t *testing.T) {
	r := newReceiver(t, false, testToken)
	r.ids = &ids{keys: map[string]string{}}
	target := r.target(fmt.Sprintf(`
url: %[1]s/items
allow_cidrs: [127.0.0.0/8]
auth: {bearer: '${env:TOKEN}'}
update: {method: PUT, url: '%[1]s/items/{ref.id}'}
delete: {url: '%[1]s/items/{ref.id}'}
lookup: {url: '%[1]s/items?key={key}', found: '.body != []', remember: {id: '.body[0]'}}
answers:
  - {when: '.status < 300 and .headers["x-id"] != null', class: ok, remember: {id: '.headers["x-id"]'}}
`, r.url()))
	target.Objects = func(_ *testing.T, key string) int {
		r.mu.Lock()
		defer r.mu.Unlock()
		return len(r.ids.of(key))
	}
	connectortest.Run(t, target)
}
