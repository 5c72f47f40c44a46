package connectors

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// ErrSecret says that a secret reference cannot be resolved. The message names
// the reference, never a value.
var ErrSecret = errors.New("cannot resolve secret")

// A Ref is a text of a configuration that may hold references to secrets:
// ${env:NAME} and ${file:/path}. It is stored, shown and logged as written; the
// values are known only to the worker that resolves it.
type Ref string

var refPattern = regexp.MustCompile(`\$\{(env|file):([^}]+)\}`)

// HasReference reports whether the text refers to at least one secret.
func (r Ref) HasReference() bool { return refPattern.MatchString(string(r)) }

// IsReference reports whether the text is one reference and nothing else.
func (r Ref) IsReference() bool {
	return refPattern.FindString(string(r)) == string(r) && r != ""
}

// IsFile reports whether the text is one reference to a file and nothing else.
func (r Ref) IsFile() bool { return r.IsReference() && strings.HasPrefix(string(r), "${file:") }

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

// Secrets looks references up. The zero value reads the process's environment
// and files.
type Secrets struct {
	// LookupEnv and ReadFile replace the environment and the file system in
	// tests and in programs that keep secrets elsewhere. nil: os.
	LookupEnv func(name string) (string, bool)
	ReadFile  func(path string) ([]byte, error)
	// RefuseEnv and RefuseFile say why a variable or a file must not be read for a
	// channel, as one that is the process's own; nil: it may be. They are asked before
	// it is.
	RefuseEnv  func(name string) error
	RefuseFile func(path string) error
}

// Resolve returns the text with every reference replaced by its value. One line
// break at the end of a file is not part of the value. It fails with ErrSecret,
// naming every reference that has no value.
func (s Secrets) Resolve(r Ref) (string, error) {
	var missing []string
	out := refPattern.ReplaceAllStringFunc(string(r), func(ref string) string {
		m := refPattern.FindStringSubmatch(ref)
		value, err := s.lookup(m[1], m[2])
		if err != nil {
			missing = append(missing, err.Error())
		}
		return value
	})
	if len(missing) > 0 {
		return "", &Error{Class: Misconfigured, Code: "secret", Err: fmt.Errorf("%w: %s", ErrSecret, strings.Join(missing, "; "))}
	}
	return out, nil
}

func (s Secrets) lookup(kind, name string) (string, error) {
	refuse := s.RefuseFile
	if kind == "env" {
		refuse = s.RefuseEnv
	}
	if refuse != nil {
		if err := refuse(name); err != nil {
			return "", err
		}
	}
	if kind == "env" {
		lookup := s.LookupEnv
		if lookup == nil {
			lookup = os.LookupEnv
		}
		if v, ok := lookup(name); ok && v != "" {
			return v, nil
		}
		return "", fmt.Errorf("environment variable %s is not set", name)
	}
	read := s.ReadFile
	if read == nil {
		read = readFile
	}
	data, err := read(name)
	if err != nil {
		return "", err
	}
	return string(bytes.TrimSuffix(bytes.TrimSuffix(data, []byte("\n")), []byte("\r"))), nil
}

func readFile(path string) ([]byte, error) {
	// Opening a pipe would wait until somebody writes to it.
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no regular file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // only read from
	data, err := io.ReadAll(io.LimitReader(f, maxSecretLen+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxSecretLen {
		return nil, fmt.Errorf("%s is larger than %d bytes", path, maxSecretLen)
	}
	return data, nil
}
