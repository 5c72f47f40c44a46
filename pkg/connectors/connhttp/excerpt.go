package connhttp

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"compress/zlib"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// maxBody is how much of an answer is read, in bytes, after it was decompressed.
const maxBody = 64 << 10

// errEncoding says that an answer is compressed in a way that nobody asked for and
// that cannot be read.
var errEncoding = errors.New("the answer's Content-Encoding cannot be read")

// readBody returns the first maxBody bytes of an answer, decompressed: some targets
// compress although they were not asked to. It returns the error if the answer breaks
// off among the first maxBody bytes as they come over the wire (before its
// Content-Length, within a chunk, or with its time), and errEncoding if it is there and
// cannot be read.
func readBody(answer *http.Response) ([]byte, error) {
	if answer.Body == http.NoBody {
		return nil, nil
	}
	raw, err := io.ReadAll(io.LimitReader(answer.Body, maxBody))
	coding := strings.ToLower(strings.TrimSpace(answer.Header.Get("Content-Encoding")))
	if coding == "" || coding == "identity" || len(raw) == 0 {
		return raw, err
	}
	out, flaw := decompress(coding, raw)
	return out, cmp.Or(err, flaw)
}

// decompress returns the first maxBody bytes of what raw, which may be cut at maxBody,
// was made from.
func decompress(coding string, raw []byte) ([]byte, error) {
	var body io.Reader
	var err error
	switch coding {
	case "gzip", "x-gzip":
		body, err = gzip.NewReader(bytes.NewReader(raw))
	case "deflate":
		body, err = zlib.NewReader(bytes.NewReader(raw))
	default:
		return nil, fmt.Errorf("%w: %.40q", errEncoding, coding)
	}
	var out []byte
	if err == nil {
		out, err = io.ReadAll(io.LimitReader(body, maxBody))
	}
	if errors.Is(err, io.ErrUnexpectedEOF) && len(raw) == maxBody { // the rest was not read
		err = nil
	}
	if err != nil {
		return out, fmt.Errorf("%w: %w", errEncoding, err)
	}
	return out, nil
}
