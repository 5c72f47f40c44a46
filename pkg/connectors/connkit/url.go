package connkit

import (
	"errors"
	"net/url"
	"strings"

	"github.com/hms-utl/extsync/pkg/connectors"
)

// errReferencePlace says where a URL may refer to secrets. Everything before its query,
// and the names in it, are shown in errors, sent to resolvers and written into logs.
var errReferencePlace = errors.New("a reference may stand only for a value in the query, as in ?token=${env:NAME}")

// CheckURL returns an error if a URL refers to a secret elsewhere than in the values of
// its query.
func CheckURL(ref connectors.Ref) error {
	before, query, _ := strings.Cut(string(ref), "?")
	if connectors.Ref(before).HasReference() || strings.Contains(before, "${") {
		return errReferencePlace
	}
	for pair := range strings.SplitSeq(query, "&") {
		if name, _, _ := strings.Cut(pair, "="); strings.Contains(name, "${") {
			return errReferencePlace
		}
	}
	return nil
}

// URL returns a URL with the values of the references in its query, escaped.
func (s *Secrets) URL(path string, ref connectors.Ref) string {
	return ref.Replace(func(r connectors.Ref) string { return s.Escape(s.Text(path, r)) })
}

// Escape returns a value with all escaped that may have a meaning anywhere in a URL.
func (s *Secrets) Escape(value string) string {
	if s.env.Previews() {
		return value // for people
	}
	return url.QueryEscape(value)
}
