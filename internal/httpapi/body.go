package httpapi

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"mime"
	"net"
	"net/http"
	"strings"
	"sync"

	"github.com/danielgtaylor/huma/v2"

	"github.com/hms-utl/extsync/pkg/events"
)

// shares divides the memory for bodies among callers. A caller may hold at most half
// of what the others leave, so that whoever comes next always gets something.
type shares struct {
	mu    sync.Mutex
	held  map[string]int64 // by caller, in bytes
	total int64
}

// take reports whether an owner may hold n bytes more. If so, give returns them.
func (s *shares) take(owner string, n int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	others := s.total - s.held[owner]
	if s.held[owner]+n > (bodyBudget-others)/2 {
		return false
	}
	s.held[owner] += n
	s.total += n
	return true
}

func (s *shares) give(owner string, n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.total -= n
	if s.held[owner] -= n; s.held[owner] == 0 {
		delete(s.held, owner)
	}
}

// admit lets a caller send the body of a request, in a form that the operation reads,
// until release is called. It comes after the token: who has none sends nothing.
func (s *server) admit(op *huma.Operation, c *caller, r *http.Request) (release func(), p *Problem) {
	if op.RequestBody == nil || r.ContentLength == 0 {
		return func() {}, nil
	}
	if p := checkCharset(r.Header.Get("Content-Type")); p != nil {
		return nil, p
	}
	most := op.MaxBodyBytes
	if most <= 0 {
		most = maxAdminBody
	}
	weight, batch := most, strings.HasSuffix(op.Path, batchSuffix)
	encoded := len(r.Header.Values("Content-Encoding")) > 0
	switch {
	case batch:
		weight = batchWindow
	case r.ContentLength > 0 && !encoded:
		weight = min(r.ContentLength, most)
	}
	if !s.bodies.take(c.id(), weight) {
		p := problem(http.StatusServiceUnavailable, "overloaded", "too many bytes of requests at once")
		p.retryAfter = soon
		return nil, p
	}
	release = func() { s.bodies.give(c.id(), weight) }
	if encoded {
		if p := decodeContent(r, batch, most); p != nil {
			release()
			return nil, p
		}
	}
	return release, nil
}

// checkCharset refuses JSON that says it is in another charset than UTF-8, which it
// would be read as.
func checkCharset(contentType string) *Problem {
	media, params, err := mime.ParseMediaType(contentType)
	if err != nil || media != ndjsonType && !events.IsJSON(contentType) {
		return nil
	}
	switch strings.ToLower(params["charset"]) {
	case "", "utf-8", "us-ascii":
		return nil
	}
	return problem(http.StatusUnsupportedMediaType, "charset", "JSON is UTF-8, and the Content-Type says otherwise")
}

// decodeContent undoes the Content-Encoding of a request. A batch is decoded while it
// is read, everything else before, to at most so many bytes.
func decodeContent(r *http.Request, batch bool, most int64) *Problem {
	switch strings.ToLower(strings.Join(r.Header.Values("Content-Encoding"), ",")) {
	case "identity":
		return nil
	case "gzip", "x-gzip":
	default:
		p := problem(http.StatusUnsupportedMediaType, "content_encoding", "the Content-Encoding is neither gzip nor identity")
		p.acceptEncoding = "gzip, identity"
		return p
	}
	if batch {
		r.Body = &inflated{ReadCloser: r.Body}
		return nil
	}
	r.Body = &inflated{ReadCloser: http.MaxBytesReader(nil, r.Body, most)}
	data, p := readBody(r, most, problem(http.StatusBadRequest, "content_encoding", "the body is not gzip, or is cut off"))
	if p != nil {
		return p
	}
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(data)), int64(len(data))
	return nil
}

// readBody reads a body of fewer than so many bytes. broken is what is wrong with one that
// neither is too large nor comes too slowly.
func readBody(r *http.Request, most int64, broken *Problem) ([]byte, *Problem) {
	data, err := io.ReadAll(io.LimitReader(r.Body, most))
	var tooLarge *http.MaxBytesError
	var network net.Error
	switch {
	case errors.As(err, &tooLarge), int64(len(data)) == most:
		return nil, problem(http.StatusRequestEntityTooLarge, "too_large", "the body is too large")
	case errors.As(err, &network) && network.Timeout():
		return nil, problem(http.StatusRequestTimeout, "slow_body", "the body did not come in time")
	case err != nil:
		return nil, broken
	}
	return data, nil
}

// inflated decodes gzip. It reads nothing before it is read from.
type inflated struct {
	io.ReadCloser
	gzip *gzip.Reader
	err  error
}

func (i *inflated) Read(p []byte) (int, error) {
	if i.gzip == nil && i.err == nil {
		i.gzip, i.err = gzip.NewReader(i.ReadCloser)
	}
	if i.err != nil {
		return 0, i.err
	}
	return i.gzip.Read(p)
}
