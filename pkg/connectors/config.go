package connectors

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// ErrConfig says that a configuration is not valid. The message names every bad
// field.
var ErrConfig = errors.New("invalid configuration")

// MaxConfigLen bounds a configuration document, in bytes.
const MaxConfigLen = 1 << 20

// DecodeStrict reads one YAML (or JSON) document into out and refuses unknown
// and repeated fields, naming all of them. An empty document leaves out as it
// is.
func DecodeStrict(data []byte, out any) error {
	if len(data) > MaxConfigLen {
		return fmt.Errorf("%w: %d bytes are more than %d", ErrConfig, len(data), MaxConfigLen)
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	dec.KnownFields(true)
	if err := dec.Decode(out); err != nil && !errors.Is(err, io.EOF) {
		return configError(err, bytes.IndexByte(bytes.TrimSpace(data), '\n') < 0)
	}
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: there is more than one document", ErrConfig)
	}
	return nil
}

// configError names what is wrong in the words of configurations: without Go's types,
// and without the number of the line where there is one only.
func configError(err error, oneLine bool) error {
	var te *yaml.TypeError
	if !errors.As(err, &te) {
		return fmt.Errorf("%w: %w", ErrConfig, err)
	}
	texts := make([]string, len(te.Errors))
	for i, text := range te.Errors {
		text, _, _ = strings.Cut(text, " in type ")
		if oneLine {
			text = strings.TrimPrefix(text, "line 1: ")
		}
		texts[i] = text
	}
	return fmt.Errorf("%w: %s", ErrConfig, strings.Join(texts, "; "))
}

// ValueError says that the value at a node of a configuration cannot be used, and why.
// UnmarshalYAML returns it, so that all that is wrong is named at once.
func ValueError(node *yaml.Node, err error) error {
	return &yaml.TypeError{Errors: []string{fmt.Sprintf("line %d: %v", node.Line, err)}}
}

// Problems collects what is wrong with a configuration. The zero value is
// ready.
type Problems struct{ list []string }

// Add notes one problem with the field at path.
func (p *Problems) Add(path, format string, args ...any) {
	p.list = append(p.list, path+": "+fmt.Sprintf(format, args...))
}

// Err returns nil if nothing was added, else an error that wraps ErrConfig and
// names everything.
func (p *Problems) Err() error {
	if len(p.list) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %s", ErrConfig, strings.Join(p.list, "; "))
}

// Duration is a time.Duration that is written like "30s" or "5m" in
// configurations.
type Duration time.Duration

// D returns the duration as the standard library's type.
func (d Duration) D() time.Duration { return time.Duration(d) }

// MarshalText writes the duration as time.Duration does.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText reads a duration with its unit.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	if err != nil {
		return fmt.Errorf("%q is not a duration such as 500ms, 30s or 5m", b)
	}
	*d = Duration(v)
	return nil
}

// UnmarshalYAML reads a duration with its unit.
func (d *Duration) UnmarshalYAML(node *yaml.Node) error {
	if err := d.UnmarshalText([]byte(node.Value)); err != nil {
		return ValueError(node, err)
	}
	return nil
}
