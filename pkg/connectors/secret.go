package connectors

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"

	"go.yaml.in/yaml/v3"

	"github.com/hms-utl/extsync/pkg/schema"
)

// ErrSecret says that a secret reference cannot be resolved. The message names
// the reference, never a value.
var ErrSecret = errors.New("cannot resolve secret")

// A Ref is a text of a configuration that may hold references to secrets:
// ${env:NAME} and ${file:/path}. It is stored, shown and logged as written; the
// values are known only to the worker that resolves it. A field has this type only if
// its value is a secret by nature, never if it is the name of something.
type Ref string

// ConfigFormat returns the format of texts that may refer to secrets.
func (r Ref) ConfigFormat() string { return schema.FormatSecretRef }

var refPattern = regexp.MustCompile(`\$\{(env|file):([^}]+)\}`)

// HasReference reports whether the text refers to at least one secret.
func (r Ref) HasReference() bool { return refPattern.MatchString(string(r)) }

// IsReference reports whether the text is one reference and nothing else.
func (r Ref) IsReference() bool {
	return refPattern.FindString(string(r)) == string(r) && r != ""
}

// IsFile reports whether the text is one reference to a file and nothing else.
func (r Ref) IsFile() bool { return r.IsReference() && strings.HasPrefix(string(r), "${file:") }

// Replace returns the text with each reference replaced by what f gives for it.
func (r Ref) Replace(f func(reference Ref) string) string {
	return refPattern.ReplaceAllStringFunc(string(r), func(ref string) string { return f(Ref(ref)) })
}

// References returns the references in the texts of a configuration (JSON or YAML),
// each once and in order. Of one that cannot be read it returns none.
func References(config []byte) []Ref {
	var doc any
	if yaml.Unmarshal(config, &doc) != nil {
		return nil
	}
	found := map[Ref]struct{}{}
	var walk func(any)
	walk = func(v any) {
		switch v := v.(type) {
		case string:
			for _, ref := range refPattern.FindAllString(v, -1) {
				found[Ref(ref)] = struct{}{}
			}
		case []any:
			for _, e := range v {
				walk(e)
			}
		case map[string]any:
			for _, e := range v {
				walk(e)
			}
		}
	}
	walk(doc)
	return slices.Sorted(maps.Keys(found))
}

// RestartHint says which references of a configuration get a new value only when the
// process that resolves them is restarted: those to its environment. It returns "" if
// there is none.
func RestartHint(config []byte) string {
	var names []string
	for _, ref := range References(config) {
		if !ref.IsFile() {
			names = append(names, string(ref))
		}
	}
	if len(names) == 0 {
		return ""
	}
	return "a new value of " + strings.Join(names, ", ") + " is read only when the worker is restarted"
}

// maxSecretLen bounds a secret read from a file, in bytes.
const maxSecretLen = 64 << 10

// Resolve returns the text with every reference replaced by its value, which the
// Scrubber knows from then on. One line break at the end of a file is not part of the
// value. It fails with ErrSecret, naming every reference that has no value or is not
// allowed.
func (e Env) Resolve(r Ref) (string, error) {
	if e.Previews() {
		return r.Replace(func(Ref) string { return e.standIn }), nil
	}
	var missing []error
	out := refPattern.ReplaceAllStringFunc(string(r), func(ref string) string {
		m := refPattern.FindStringSubmatch(ref)
		look := e.fromFile
		if m[1] == "env" {
			look = e.fromEnv
		}
		value, err := look(m[2])
		if err != nil {
			missing = append(missing, err)
		}
		e.scrubber.Add(value)
		return value
	})
	if len(missing) > 0 {
		return "", Unresolved(missing)
	}
	return out, nil
}

// Unresolved returns the error of references that could not be resolved, for these causes.
// It wraps ErrSecret, and ErrNotAllowed where one of them does.
func Unresolved(causes []error) error {
	texts := make([]string, len(causes))
	for i, err := range causes {
		texts[i] = err.Error()
	}
	return misconfigured("secret", &unresolved{ErrSecret.Error() + ": " + strings.Join(texts, "; "), append([]error{ErrSecret}, causes...)})
}

// An unresolved error names all causes on one line.
type unresolved struct {
	text   string
	causes []error
}

func (u *unresolved) Error() string   { return u.text }
func (u *unresolved) Unwrap() []error { return u.causes }

func (e Env) fromEnv(name string) (string, error) {
	if isOwnVariable(name) {
		return "", fmt.Errorf("environment variable %s is extsync's own, and no secret of a channel", name)
	}
	if !e.grant.allowsEnv(name) {
		return "", e.refused("environment variable "+name, "env", e.grant.Env)
	}
	lookup := e.host.LookupEnv
	if lookup == nil {
		lookup = os.LookupEnv
	}
	if v, ok := lookup(name); ok && v != "" {
		return v, nil
	}
	return "", fmt.Errorf("environment variable %s is not set", name)
}

// fromFile reads a file below an allowed directory. os.Root follows no link out of it.
func (e Env) fromFile(path string) (string, error) {
	for _, dir := range e.grant.Files {
		rel, err := filepath.Rel(filepath.Clean(dir), filepath.Clean(path))
		if err != nil || !filepath.IsLocal(rel) {
			continue
		}
		data, err := e.readBelow(dir, rel)
		if err != nil {
			return "", fmt.Errorf("file %s: %w", path, pathCause(err))
		}
		return string(bytes.TrimSuffix(bytes.TrimSuffix(data, []byte("\n")), []byte("\r"))), nil
	}
	return "", e.refused("file "+path, "files", e.grant.Files)
}

func (e Env) readBelow(dir, rel string) ([]byte, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer func() { _ = root.Close() }() // only read from
	// Opening a pipe would else wait until somebody writes to it.
	f, err := root.OpenFile(rel, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // only read from
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, errors.New("it is no regular file")
	case e.isOwnFile(info):
		return nil, errors.New("it is extsync's own, and no secret of a channel")
	}
	data, err := io.ReadAll(io.LimitReader(f, maxSecretLen+1))
	switch {
	case err != nil:
		return nil, err
	case len(data) > maxSecretLen:
		return nil, fmt.Errorf("it is larger than %d bytes", maxSecretLen)
	case len(bytes.TrimSpace(data)) == 0:
		return nil, errors.New("there is nothing in it")
	}
	return data, nil
}

// pathCause returns what happened at a path without the path, which the caller names
// as the channel has it.
func pathCause(err error) error {
	var e *fs.PathError
	if errors.As(err, &e) {
		return e.Err
	}
	return err
}
