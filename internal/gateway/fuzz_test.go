package gateway

import (
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
)

// Whatever a gateway sends, what reaches the handler is a request for a path, with a few
// header fields, that says that its address is hearsay.
func FuzzRequestOf(f *testing.F) {
	f.Add("PUT", "/v1/channels/portal?dry_run=true", "203.0.113.7:4711", "If-Match", `"7"`, []byte(`{}`))
	f.Add("GET", "//elsewhere/v1/..%2f", "[::1%eth0]:1", "Authorization", "Bearer x\r\nX: y", []byte{})
	f.Add("PUT HTTP/1.1\r\n", "http://user@elsewhere/#x", "", "Content-Encoding", "gzip", []byte{})
	f.Add("CONNECT", "elsewhere:80", "x", "Host", "elsewhere", []byte{})
	f.Fuzz(func(t *testing.T, method, path, from, name, value string, body []byte) {
		msg := &nats.Msg{Data: body, Header: nats.Header{headerMethod: {method}, headerPath: {path}, headerFrom: {from}, name: {value, "another"}}}
		r, err := requestOf(t.Context(), msg)
		if err != nil {
			return
		}
		if u := r.URL; u.Scheme != "" || u.Host != "" || u.User != nil || u.Opaque != "" || !strings.HasPrefix(u.Path, "/") || len(path) > maxPath && name != headerPath {
			t.Errorf("target %q is %#v", path, u)
		}
		if again, err := url.ParseRequestURI(r.URL.RequestURI()); err != nil || again.Path != r.URL.Path {
			t.Errorf("%q is %q in a request of its own, %v", r.URL.Path, again, err)
		}
		if !slices.Contains([]string{"GET", "HEAD", "PUT", "POST", "DELETE"}, r.Method) || !strings.HasPrefix(r.RemoteAddr, "a gateway, which names ") {
			t.Errorf("method %q, from %q", r.Method, r.RemoteAddr)
		}
		for name, values := range r.Header {
			if !slices.Contains(requestHeaders(), name) || len(values) != 1 || len(values[0]) > maxValue || strings.ContainsAny(values[0], "\r\n\x00") {
				t.Errorf("header %s: %q", name, values)
			}
		}
		if data, err := io.ReadAll(r.Body); err != nil || string(data) != string(body) || r.ContentLength != int64(len(body)) {
			t.Errorf("body %q of %d, %v", data, r.ContentLength, err)
		}
		http.NewServeMux().ServeHTTP(&recorder{header: http.Header{}}, r) // and no mux panics
	})
}
