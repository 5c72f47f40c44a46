package connhttp

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
)

// Placeholders of a URL.
const (
	keyPlaceholder     = "{key}"
	versionPlaceholder = "{version}"
)

// errDotSegment says that a key would become a "." or ".." of the path, which
// means another path.
var errDotSegment = errors.New("the key makes a path segment of dots only, which a URL cannot carry")

// A template is a URL with placeholders in its path or query. It is immutable.
type template struct{ text, host string }

var bracePattern = regexp.MustCompile(`\{[^{}]*\}|[{}]`)

// filledIn makes a URL of a template that url.Parse takes.
func filledIn(text string) string {
	return strings.NewReplacer(keyPlaceholder, "k", versionPlaceholder, "1").Replace(text)
}

// parseTemplate reads a template. Its errors never repeat the text, which may
// hold secrets.
func parseTemplate(text string) (template, error) {
	for _, b := range bracePattern.FindAllString(text, -1) {
		if b != keyPlaceholder && b != versionPlaceholder {
			return template{}, errors.New("braces can hold only {key} or {version}; write others as %7B and %7D")
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
	return template{text: text, host: u.Host}, nil
}

// fixed returns an error if the template has placeholders where there is no
// update to fill them from.
func (t template) fixed() error {
	if strings.Contains(t.text, "{") {
		return errors.New("{key} and {version} mean nothing here")
	}
	return nil
}

// expand returns the URL of one update. The key is escaped so that it stays one
// path segment or one query value whatever it holds.
func (t template) expand(key, version string) (*url.URL, error) {
	path, query, hasQuery := strings.Cut(t.text, "?")
	path = fill(path, key, version)
	if dotSegment(path) {
		return nil, errDotSegment
	}
	if hasQuery {
		path += "?" + fill(query, key, version)
	}
	u, err := url.Parse(path)
	if err != nil {
		return nil, fmt.Errorf("the key and the version do not make a URL for %s", t.host)
	}
	return u, nil
}

func dotSegment(path string) bool {
	for segment := range strings.SplitSeq(path, "/") {
		if segment == "." || segment == ".." {
			return true
		}
	}
	return false
}

func fill(text, key, version string) string {
	return strings.NewReplacer(keyPlaceholder, escape(key, unreserved), versionPlaceholder, escape(version, unreserved)).Replace(text)
}

// unreserved reports whether a byte stands for itself anywhere in a URL (RFC
// 3986, section 2.3).
func unreserved(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.' || c == '~'
}

// escape percent-encodes every byte that is not plain.
func escape(s string, plain func(byte) bool) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; plain(c) {
			b.WriteByte(c)
		} else {
			b.Write([]byte{'%', hex[c>>4], hex[c&15]})
		}
	}
	return b.String()
}
