package apis

import (
	"fmt"
	"net/http"
	"sync"
)

// Files is a store of documents that wants its ETags back (RFC 9110, section 13.1), as
// WebDAV and CalDAV servers and object stores are:
//
//	PUT    /files/{name}      201 or 204 with ETag; 412 if If-Match or If-None-Match does not hold; 428 without either
//	GET    /files/{name}      200 with ETag, 404
//	DELETE /files/{name}      204, 404, 412, 428
type Files struct {
	// Silent: PUT does not answer with the ETag, as some servers do.
	Silent bool

	mu      sync.Mutex
	last    int
	files   map[string]file
	creates map[string]int
}

type file struct {
	etag    string
	content []byte
}

// Held returns a document, and how often one was made under this name.
func (f *Files) Held(name string) (content string, there bool, creates int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	held, there := f.files[name]
	return string(held.content), there, f.creates[name]
}

// Write puts a document there, as somebody else would. Empty content removes it.
func (f *Files) Write(name, content string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if content == "" {
		delete(f.files, name)
		return
	}
	f.store(name, []byte(content))
}

func (f *Files) store(name string, content []byte) (etag string) {
	if f.files == nil {
		f.files, f.creates = map[string]file{}, map[string]int{}
	}
	if _, there := f.files[name]; !there {
		f.creates[name]++
	}
	f.last++
	etag = fmt.Sprintf(`"%d"`, f.last)
	f.files[name] = file{etag, content}
	return etag
}

// ServeHTTP is the API.
func (f *Files) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	mux := http.NewServeMux()
	mux.HandleFunc("PUT /files/{name}", f.put)
	mux.HandleFunc("GET /files/{name}", f.get)
	mux.HandleFunc("DELETE /files/{name}", f.remove)
	mux.ServeHTTP(w, r)
}

// holds reports whether the condition of a request holds, and answers if it does not.
func (f *Files) holds(w http.ResponseWriter, r *http.Request) bool {
	held, there := f.files[r.PathValue("name")]
	match, none := r.Header.Get("If-Match"), r.Header.Get("If-None-Match")
	switch {
	case match == "" && none == "":
		w.WriteHeader(http.StatusPreconditionRequired)
		return false
	case match != "" && (!there || match != held.etag), none == "*" && there:
		w.WriteHeader(http.StatusPreconditionFailed)
		return false
	default:
		return true
	}
}

func (f *Files) put(w http.ResponseWriter, r *http.Request) {
	body, ok := readBody(w, r)
	if !ok {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.holds(w, r) {
		return
	}
	_, there := f.files[r.PathValue("name")]
	etag := f.store(r.PathValue("name"), body)
	if !f.Silent {
		w.Header().Set("ETag", etag)
	}
	if there {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	w.WriteHeader(http.StatusCreated)
}

func (f *Files) get(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	held, there := f.files[r.PathValue("name")]
	if !there {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("ETag", held.etag)
	_, _ = w.Write(held.content) // a client that has gone needs no answer
}

func (f *Files) remove(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, there := f.files[r.PathValue("name")]; !there {
		http.NotFound(w, r)
		return
	}
	if f.holds(w, r) {
		delete(f.files, r.PathValue("name"))
		w.WriteHeader(http.StatusNoContent)
	}
}
