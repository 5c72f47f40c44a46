package connhttp

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"

	"github.com/hms-utl/extsync/pkg/connectors"
)

// Placeholders of a URL. One of a remembered value is "{ref.NAME}".
const (
	keyPlaceholder     = "{key}"
	versionPlaceholder = "{version}"
	refPlaceholder     = "{ref."
)

// refName returns the name of the value that a placeholder stands for.
func refName(placeholder string) (name string, ok bool) {
	name, ok = strings.CutPrefix(placeholder, refPlaceholder)
	return strings.TrimSuffix(name, "}"), ok
}

// errDotSegment says that a key would become a "." or ".." of the path, which
// means another path.
var errDotSegment = errors.New("the key makes a path segment of dots only, which a URL cannot carry")

// A template is a URL with placeholders in its path or query. It is immutable.
type template struct {
	text, host string
	// url is what the text gives without placeholders. It is shared by all
	// requests, which must not change it.
	url *url.URL
	// path and query have the placeholders, in escaped form; nil: none there.
	path, query []part
}

// A part is a text and the placeholder behind it, "" for none.
type part struct{ text, placeholder string }

var bracePattern = regexp.MustCompile(`\{[^{}]*\}|[{}]`)

// filledIn makes a URL of a template that url.Parse takes.
func filledIn(text string) string {
	return bracePattern.ReplaceAllStringFunc(text, func(placeholder string) string {
		if knownPlaceholder(placeholder) {
			return "1"
		}
		return placeholder
	})
}

func knownPlaceholder(text string) bool {
	name, isRef := refName(text)
	return text == keyPlaceholder || text == versionPlaceholder || isRef && checkRefName(name) == nil
}

// parseTemplate reads a template. Its errors never repeat the text, which may
// hold secrets.
func parseTemplate(text string) (template, error) {
	for _, b := range bracePattern.FindAllString(text, -1) {
		if !knownPlaceholder(b) {
			return template{}, errors.New("braces can hold only {key}, {version} or {ref.NAME}; write others as %7B and %7D")
		}
	}
	u, err := url.Parse(filledIn(text))
	switch {
	case err != nil:
		return template{}, errors.New("it is not a URL")
	case u.Scheme != "http" && u.Scheme != "https":
		return template{}, errors.New("it must start with http:// or https://")
	case u.Hostname() == "":
		return template{}, errors.New("it has no host")
	case u.User != nil:
		return template{}, errors.New("it must not hold a user name or password; use auth.basic")
	case strings.Contains(text, "#"):
		return template{}, errors.New("it must not have a fragment")
	}
	rest := text[len(u.Scheme)+len("://"):]
	authority := rest
	if end := strings.IndexAny(rest, "/?"); end >= 0 {
		authority = rest[:end]
	}
	if strings.Contains(authority, "{") {
		return template{}, errors.New("placeholders can be in the path and the query only")
	}
	if path, _, _ := strings.Cut(filledIn(rest), "?"); dotSegment(path) {
		return template{}, errors.New("it must not have path segments of dots only")
	}
	t := template{text: text, host: u.Host, url: u}
	u.Host = strings.TrimSuffix(u.Host, ":") // an empty port is the default one, and no part of Host
	path, query, _ := strings.Cut(rest[len(authority):], "?")
	t.path, t.query = partsOf(path), partsOf(query)
	return t, nil
}

// partsOf returns the parts of a text, nil if it has no placeholder.
func partsOf(text string) (parts []part) {
	at := 0
	for _, found := range bracePattern.FindAllStringIndex(text, -1) {
		parts = append(parts, part{text[at:found[0]], text[found[0]:found[1]]})
		at = found[1]
	}
	if parts == nil || at == len(text) {
		return parts
	}
	return append(parts, part{text: text[at:]})
}

// fixed returns an error if the template has placeholders where there is no
// update to fill them from.
func (t *template) fixed() error {
	if t.path != nil || t.query != nil {
		return errors.New("{key}, {version} and {ref.NAME} mean nothing here")
	}
	return nil
}

// refs returns the names of the remembered values that the template needs.
func (t *template) refs() (names []string) {
	for _, parts := range [][]part{t.path, t.query} {
		for _, p := range parts {
			if name, ok := refName(p.placeholder); ok {
				names = append(names, name)
			}
		}
	}
	return names
}

// expand returns the URL of one update. The key is escaped so that it stays one
// path segment or one query value whatever it holds, and so are remembered values. The URL
// may be shared: the caller must not change it.
func (t *template) expand(key, version string, refs connectors.Refs) (*url.URL, error) {
	if t.path == nil && t.query == nil {
		return t.url, nil
	}
	key, version = escape(key, unreserved), escape(version, unreserved)
	u := *t.url
	if t.path != nil {
		u.RawPath = fill(t.path, key, version, refs)
		if dotSegment(u.RawPath) {
			return nil, errDotSegment
		}
		var err error
		if u.Path, err = url.PathUnescape(u.RawPath); err != nil {
			return nil, fmt.Errorf("the key and the version do not make a URL for %s", t.host)
		}
	}
	if t.query != nil {
		u.RawQuery = fill(t.query, key, version, refs)
		u.ForceQuery = u.RawQuery == ""
	}
	return &u, nil
}

func dotSegment(path string) bool {
	for segment := range strings.SplitSeq(path, "/") {
		if segment == "." || segment == ".." {
			return true
		}
	}
	return false
}

// fill puts the key and the version, which are escaped already, and remembered values into
// the places of the placeholders.
func fill(parts []part, key, version string, refs connectors.Refs) string {
	var b strings.Builder
	size := 0
	for _, p := range parts {
		size += len(p.text) + max(len(key), len(version))
	}
	b.Grow(size)
	for _, p := range parts {
		b.WriteString(p.text)
		switch p.placeholder {
		case keyPlaceholder:
			b.WriteString(key)
		case versionPlaceholder:
			b.WriteString(version)
		default:
			if name, ok := refName(p.placeholder); ok {
				b.WriteString(escape(refs[name], unreserved))
			}
		}
	}
	return b.String()
}

// A byteSet says of each byte whether it belongs to it. A call for each byte would
// take several times as long, and most of a request passes by here.
type byteSet [256]bool

func bytesWhere(belongs func(byte) bool) *byteSet {
	var set byteSet
	for c := range set {
		set[c] = belongs(byte(c))
	}
	return &set
}

// unreserved are the bytes that stand for themselves anywhere in a URL (RFC 3986,
// section 2.3).
var unreserved = bytesWhere(func(c byte) bool { //nolint:gochecknoglobals // a constant that the language cannot express as one
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.' || c == '~'
})

// escape percent-encodes every byte that is not plain.
func escape(s string, plain *byteSet) string {
	first := 0
	for first < len(s) && plain[s[first]] {
		first++
	}
	if first == len(s) {
		return s // as almost all are
	}
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	b.Grow(len(s) + 2*(len(s)-first))
	b.WriteString(s[:first])
	for i := first; i < len(s); i++ {
		if c := s[i]; plain[c] {
			b.WriteByte(c)
		} else {
			b.Write([]byte{'%', hex[c>>4], hex[c&15]})
		}
	}
	return b.String()
}
