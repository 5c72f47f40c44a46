// Package console is the console in the browser: files that are served as they are, and that
// ask the HTTP API for everything. It needs no building: what is in assets is what the
// browser gets.
package console

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"regexp"
	"strings"
)

//go:embed assets
var assets embed.FS

// Policy is what the console's pages may do: nothing but talk to where they came from. There is
// no inline script and no inline style.
const Policy = "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'"

// A file is a file of the console as it is served.
type file struct {
	contentType string
	document    bool // a browser can show it as a page
	etag        string
	plain       []byte
	packed      []byte // gzip
}

// Handler returns what serves the console under any path that ends with its last part: its
// addresses are relative, so that it works behind a proxy that puts it elsewhere. name returns
// the path of the file that a request asks for, "" for the page.
func Handler(name func(*http.Request) string) (http.Handler, error) {
	files, version, err := load()
	if err != nil {
		return nil, err
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked := name(r)
		if asked == "" {
			asked = page
		}
		of := ""
		if first, rest, found := strings.Cut(asked, "/"); found && versioned.MatchString(first) {
			of, asked = first, rest
		}
		f, ok := files[asked]
		if !ok {
			http.Error(w, "the console has no such file", http.StatusNotFound)
			return
		}
		f.serve(w, r, of == version && asked != page)
	}), nil
}

// serve answers with the file. forever: what this address has never changes. At any other a
// browser asks each time: a 304 is cheap, and an upgrade shows at once.
func (f *file) serve(w http.ResponseWriter, r *http.Request, forever bool) {
	h := w.Header()
	h.Set("Content-Type", f.contentType)
	if f.document { // for scripts and styles these say nothing
		h.Set("Content-Security-Policy", Policy)
		h.Set("Referrer-Policy", "same-origin")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
	}
	h.Set("Cache-Control", "no-cache")
	if forever {
		h.Set("Cache-Control", "max-age=31536000, immutable")
	}
	h.Set("ETag", f.etag)
	h.Add("Vary", "Accept-Encoding")
	if strings.Contains(r.Header.Get("If-None-Match"), f.etag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	body := f.plain
	if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		h.Set("Content-Encoding", "gzip")
		body = f.packed
	}
	h.Set("Content-Length", fmt.Sprint(len(body)))
	if r.Method != http.MethodHead {
		_, _ = w.Write(body) // the client has gone
	}
}

// page is the file that names all others, under the version of all of them: a browser that has
// opened the console before asks for this one only.
const page = "index.html"

var (
	versioned = regexp.MustCompile(`^[0-9a-f]{16}$`)
	ofPage    = regexp.MustCompile(`(href|src)="(css|js|vendor)/`)
)

// load reads and packs every file once. Their version depends on what is in them.
func load() (files map[string]*file, version string, err error) {
	contents := map[string][]byte{}
	all := sha256.New()
	err = fs.WalkDir(assets, "assets", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := assets.ReadFile(name)
		name = strings.TrimPrefix(name, "assets/")
		contents[name] = data
		_, _ = fmt.Fprintf(all, "%s\n%d\n%s", name, len(data), data) // a hash takes all
		return err
	})
	if err != nil {
		return nil, "", err
	}
	version = hex.EncodeToString(all.Sum(nil)[:8])
	contents[page] = ofPage.ReplaceAll(contents[page], []byte(`$1="`+version+`/$2/`))
	files = map[string]*file{}
	for name, data := range contents {
		if files[name], err = pack(name, data); err != nil {
			return nil, "", err
		}
	}
	return files, version, nil
}

func pack(name string, data []byte) (*file, error) {
	var buf bytes.Buffer
	w, err := gzip.NewWriterLevel(&buf, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	if _, err := io.Copy(w, bytes.NewReader(data)); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	sum := sha256.Sum256(data)
	kind := map[string]string{".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".html": "text/html; charset=utf-8", ".svg": "image/svg+xml"}[path.Ext(name)]
	if kind == "" {
		if kind = mime.TypeByExtension(path.Ext(name)); kind == "" {
			kind = "text/plain; charset=utf-8"
		}
	}
	document := strings.HasPrefix(kind, "text/html") || kind == "image/svg+xml"
	return &file{contentType: kind, document: document, etag: `"` + hex.EncodeToString(sum[:12]) + `"`, plain: data, packed: buf.Bytes()}, nil
}
