package httpkit

import (
	"bytes"
	"cmp"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
)

// maxCodings is how often an answer may have been compressed.
const maxCodings = 4

// ErrEncoding says that an answer is compressed in a way that nobody asked for and
// that cannot be read.
var ErrEncoding = errors.New("the answer's Content-Encoding cannot be read")

// ReadBody returns the first bytes of an answer, most of them, decompressed: some targets compress
// although they were not asked to. cut says that there are more of them. It returns the
// error if the answer breaks off among the first bytes as they come over the wire (before
// its Content-Length, within a chunk, or with its time), and ErrEncoding if it is there
// and cannot be read.
func ReadBody(answer *http.Response, most int) (body []byte, cut bool, err error) {
	if answer.Body == http.NoBody {
		return nil, false, nil
	}
	body, err = io.ReadAll(io.LimitReader(answer.Body, int64(most)))
	cut = len(body) == most
	codings := answer.Header["Content-Encoding"]
	if len(codings) == 0 || len(body) == 0 {
		return body, cut, err
	}
	list := strings.Split(strings.ToLower(strings.Join(codings, ",")), ",")
	if len(list) > maxCodings {
		return nil, cut, cmp.Or(err, fmt.Errorf("%w: it was compressed more than %d times", ErrEncoding, maxCodings))
	}
	for _, coding := range slices.Backward(list) { // the last one was applied last
		var flaw error
		body, flaw = decompress(strings.TrimSpace(coding), body, most, cut)
		if flaw != nil {
			return body, cut, cmp.Or(err, flaw)
		}
		cut = cut || len(body) == most
	}
	return body, cut, err
}

// decompress returns the first bytes of what raw, which may be cut, was made from.
func decompress(coding string, raw []byte, most int, cut bool) ([]byte, error) {
	var body io.Reader
	var err error
	switch coding {
	case "", "identity":
		return raw, nil
	case "gzip", "x-gzip":
		body, err = gzip.NewReader(bytes.NewReader(raw))
	case "deflate":
		// It means zlib's form (RFC 9110, section 8.4.1.2); some send what is in it alone.
		if body, err = zlib.NewReader(bytes.NewReader(raw)); err != nil {
			body, err = flate.NewReader(bytes.NewReader(raw)), nil
		}
	default:
		return nil, fmt.Errorf("%w: %.40q", ErrEncoding, coding)
	}
	var out []byte
	if err == nil {
		out, err = io.ReadAll(io.LimitReader(body, int64(most)))
	}
	if errors.Is(err, io.ErrUnexpectedEOF) && cut { // the rest was not read
		err = nil
	}
	if err != nil {
		return out, fmt.Errorf("%w: %w", ErrEncoding, err)
	}
	return out, nil
}
