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
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
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

// A mask hides secrets in a text.
type mask struct {
	values   []string // longest first, so that one which contains another is hidden whole
	replacer *strings.Replacer
}

func newMask(values []string) *mask {
	m := &mask{values: slices.Clone(values)}
	slices.SortFunc(m.values, func(a, b string) int { return len(b) - len(a) })
	pairs := make([]string, 0, 2*len(m.values))
	for _, v := range m.values {
		pairs = append(pairs, v, "***")
	}
	m.replacer = strings.NewReplacer(pairs...)
	return m
}

// excerpt returns the beginning of an answer for people to read: valid UTF-8 of at
// most so many bytes, without the connector's own secrets, the token of the request
// and control characters.
func (c *connector) excerpt(body []byte, token string, most int) string {
	if len(body) == 0 {
		return ""
	}
	text := strings.ToValidUTF8(c.mask.hide(body, token, most), "\uFFFD")
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' && r != '\t' {
			return ' '
		}
		return r
	}, text)
	if len(text) <= most {
		return text
	}
	cut := most
	for !utf8.RuneStart(text[cut]) {
		cut--
	}
	return strings.Clone(text[:cut])
}

// hide returns what of a body is enough for an excerpt of so many bytes, with the
// secrets masked. Where the body goes on, no part of a secret is left at the end.
func (m *mask) hide(body []byte, token string, most int) string {
	longest := len(token)
	if len(m.values) > 0 {
		longest = max(longest, len(m.values[0]))
	}
	enough := min(len(body), most+longest)
	text := m.replacer.Replace(string(body[:enough]))
	if token != "" {
		text = strings.ReplaceAll(text, token, "***")
	}
	if enough == len(body) && len(body) < maxBody {
		return text
	}
	keep := len(text)
	for _, v := range m.values {
		keep = min(keep, withoutBeginning(text, v))
	}
	return text[:min(keep, withoutBeginning(text, token))]
}

// withoutBeginning returns how long a text is without the beginning of a secret at
// its end.
func withoutBeginning(text, secret string) int {
	for n := min(len(secret)-1, len(text)); n > 0; n-- {
		if strings.HasSuffix(text, secret[:n]) {
			return len(text) - n
		}
	}
	return len(text)
}
