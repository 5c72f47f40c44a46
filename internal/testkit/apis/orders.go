package apis

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"sync"
)

// Orders is Contacts with idempotency keys on POST and PUT, as payment services have them: a request
// that is repeated under its key gets the first one's answer, 409 while that is being
// carried out, and 422 if it asks for something else.
type Orders struct {
	Contacts
	// Hold, if it is there, is called while a request is carried out. It may block.
	Hold func(key string)

	mu   sync.Mutex
	seen map[string]*seen
}

// seen is what is known of one idempotency key.
type seen struct {
	method, path string
	body         []byte
	done         *httptest.ResponseRecorder // nil: it is being carried out
}

// ServeHTTP is the API.
func (o *Orders) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	key := r.Header.Get("Idempotency-Key")
	if key == "" || r.Method != http.MethodPost && r.Method != http.MethodPut {
		o.Contacts.ServeHTTP(w, r)
		return
	}
	body, ok := readBody(w, r)
	if !ok {
		return
	}
	o.mu.Lock()
	if o.seen == nil {
		o.seen = map[string]*seen{}
	}
	first, again := o.seen[key]
	if !again {
		first = &seen{method: r.Method, path: r.URL.Path, body: body}
		o.seen[key] = first
	}
	done := first.done
	o.mu.Unlock()
	switch {
	case again && (r.Method != first.method || r.URL.Path != first.path || !bytes.Equal(body, first.body)):
		answer(w, http.StatusUnprocessableEntity, map[string]string{"error": "the key was used for another request"})
		return
	case again && done == nil:
		answer(w, http.StatusConflict, map[string]string{"error": "a request with this key is in progress"})
		return
	case !again:
		if o.Hold != nil {
			o.Hold(key)
		}
		done = httptest.NewRecorder()
		// It is carried out whether the client is still there or not.
		again := r.Clone(r.Context())
		again.Body = http.MaxBytesReader(w, &readCloser{bytes.NewReader(body)}, maxBody)
		o.Contacts.ServeHTTP(done, again)
		o.mu.Lock()
		first.done = done
		o.mu.Unlock()
	}
	for name, values := range done.Header() {
		w.Header()[name] = values
	}
	w.WriteHeader(done.Code)
	_, _ = w.Write(done.Body.Bytes()) // a client that has gone needs no answer
}

type readCloser struct{ *bytes.Reader }

func (*readCloser) Close() error { return nil }
