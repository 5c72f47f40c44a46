package connkit

import (
	"errors"
	"slices"
	"strings"

	"github.com/hms-utl/extsync/pkg/connectors"
)

// Secrets resolves the references of a configuration one by one and remembers which
// failed, so that all are named at once. It is for one goroutine.
type Secrets struct {
	env     connectors.Env
	missing []error
}

// NewSecrets returns what resolves references in env.
func NewSecrets(env connectors.Env) *Secrets { return &Secrets{env: env} }

// Text returns the text of the field at path with its references resolved, "" if that
// fails.
func (s *Secrets) Text(path string, ref connectors.Ref) string {
	value, err := s.env.Resolve(ref)
	if err != nil {
		var e *connectors.Error
		if errors.As(err, &e) {
			err = e.Err
		}
		s.missing = append(s.missing, &field{path, err})
		return ""
	}
	return value
}

// Err returns an error that names every reference that failed, nil if none did.
func (s *Secrets) Err() error {
	if len(s.missing) == 0 {
		return nil
	}
	return connectors.Unresolved(s.missing)
}

// A field error says which field has a reference that cannot be resolved.
type field struct {
	path string
	err  error
}

func (f *field) Error() string {
	return f.path + ": " + strings.TrimPrefix(f.err.Error(), connectors.ErrSecret.Error()+": ")
}

func (f *field) Unwrap() error { return f.err }

// MustRefer adds a problem if a text holds no reference.
func MustRefer(p *connectors.Problems, path string, value connectors.Ref) {
	if !value.HasReference() {
		// The value is not repeated: it may be the secret.
		p.Add(path, "it must refer to a secret, as ${env:NAME} or ${file:/path}")
	}
}

// Sample returns a text with a harmless word in place of each reference, to look at its
// form.
func Sample(r connectors.Ref) string {
	return r.Replace(func(connectors.Ref) string { return "reference" })
}

// Misconfigured returns an error that blocks the channel.
func Misconfigured(code string, err error) error {
	return &connectors.Error{Class: connectors.Misconfigured, Code: code, Err: err}
}

// SecretHeader reports whether a header is known to carry credentials, by its name.
func SecretHeader(name string) bool {
	lower := strings.ToLower(name)
	return slices.ContainsFunc([]string{"authorization", "cookie", "key", "token", "secret", "password"}, func(word string) bool {
		return strings.Contains(lower, word)
	})
}
