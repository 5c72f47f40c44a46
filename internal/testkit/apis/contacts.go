package apis

import (
	"encoding/json"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// Contacts is a REST API that makes ids, as most CRM systems do:
//
//	POST   /contacts                      201 {"id": "c1", ...}
//	GET    /contacts?external_id=KEY      200 {"total": 1, "items": [{"id": "c1", ...}]}
//	PUT    /contacts/{id}                 200, 404
//	DELETE /contacts/{id}                 204, 404
//
// Its bodies are {"external_id": KEY, "data": ...}. It does not care whether an external_id
// is there twice.
type Contacts struct {
	// Lag is how long the search does not find what was created.
	Lag time.Duration
	// Now is the clock of the search. nil: the system's.
	Now func() time.Time

	mu      sync.Mutex
	last    int
	objects []*Object
}

// Held returns the objects of a key.
func (c *Contacts) Held(key string) (out []Object) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, o := range c.objects {
		if o.Key == key {
			out = append(out, *o)
		}
	}
	return out
}

// Remove deletes all objects of a key, as somebody else would.
func (c *Contacts) Remove(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drop(func(o *Object) bool { return o.Key == key })
}

func (c *Contacts) drop(which func(*Object) bool) (dropped int) {
	kept := c.objects[:0]
	for _, o := range c.objects {
		if which(o) {
			dropped++
			continue
		}
		kept = append(kept, o)
	}
	c.objects = kept
	return dropped
}

func (c *Contacts) now() time.Time {
	if c.Now != nil {
		return c.Now()
	}
	return time.Now()
}

// ServeHTTP is the API.
func (c *Contacts) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /contacts", c.create)
	mux.HandleFunc("GET /contacts", c.search)
	mux.HandleFunc("PUT /contacts/{id}", c.update)
	mux.HandleFunc("DELETE /contacts/{id}", c.remove)
	mux.ServeHTTP(w, r)
}

func (c *Contacts) create(w http.ResponseWriter, r *http.Request) {
	o := &Object{}
	body, ok := readBody(w, r)
	if !ok || json.Unmarshal(body, o) != nil {
		http.Error(w, "not a contact", http.StatusUnprocessableEntity)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last++
	o.ID, o.made = "c"+strconv.Itoa(c.last), c.now()
	c.objects = append(c.objects, o)
	answer(w, http.StatusCreated, o)
}

func (c *Contacts) search(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	items := []*Object{}
	for _, o := range c.objects {
		if o.Key == r.URL.Query().Get("external_id") && c.now().Sub(o.made) >= c.Lag {
			items = append(items, o)
		}
	}
	answer(w, http.StatusOK, map[string]any{"total": len(items), "items": items})
}

func (c *Contacts) update(w http.ResponseWriter, r *http.Request) {
	var next Object
	body, ok := readBody(w, r)
	if !ok || json.Unmarshal(body, &next) != nil {
		http.Error(w, "not a contact", http.StatusUnprocessableEntity)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, o := range c.objects {
		if o.ID == r.PathValue("id") {
			o.Key, o.Data = next.Key, next.Data
			answer(w, http.StatusOK, o)
			return
		}
	}
	answer(w, http.StatusNotFound, map[string]string{"error": "no such contact"})
}

func (c *Contacts) remove(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.drop(func(o *Object) bool { return o.ID == r.PathValue("id") }) == 0 {
		answer(w, http.StatusNotFound, map[string]string{"error": "no such contact"})
		return
	}
	w.WriteHeader(http.StatusNoContent)
}
