package events

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Refs are values that a target gave for a key and wants back with the next call, each
// under a name: its own id of the entity, an ETag. The engine keeps them beside the
// outcome of the key. They are no secrets.
type Refs map[string]string

// MaxRefs bounds the names and values of Refs, in bytes.
const MaxRefs = 256

// ErrRefs says that values cannot be kept.
var ErrRefs = errors.New("the values to remember cannot be kept")

// Size returns the length of all names and values, in bytes.
func (r Refs) Size() (n int) {
	for name, value := range r {
		n += len(name) + len(value)
	}
	return n
}

// Check returns an error that wraps ErrRefs if the values cannot be kept: a name that is
// empty, what is no UTF-8 or has control characters, more than MaxRefs bytes in all.
func (r Refs) Check() error {
	for name, value := range r {
		if name == "" || !isPlain(name) || !isPlain(value) {
			return fmt.Errorf("%w: a name is empty, or a text is no UTF-8 or has control characters", ErrRefs)
		}
	}
	if size := r.Size(); size > MaxRefs {
		return fmt.Errorf("%w: %d bytes are more than %d", ErrRefs, size, MaxRefs)
	}
	return nil
}

func isPlain(text string) bool {
	return utf8.ValidString(text) && !strings.ContainsFunc(text, unicode.IsControl)
}

// With returns the values with those of more in their place: a name that only one has
// stays, and one whose value in more is empty is forgotten. Neither is changed; nil stands
// for none.
func (r Refs) With(more Refs) Refs {
	if len(more) == 0 {
		return r
	}
	out := make(Refs, len(r)+len(more))
	maps.Copy(out, r)
	for name, value := range more {
		if value == "" {
			delete(out, name)
			continue
		}
		out[name] = value
	}
	if len(out) == 0 {
		return nil
	}
	return out
}
