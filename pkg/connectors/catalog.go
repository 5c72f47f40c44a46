package connectors

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// ErrUnknownKind says that the catalog has no such connector kind.
var ErrUnknownKind = errors.New("unknown connector kind")

// A Kind is one type of connector: its name in configurations and how to make
// one.
type Kind struct {
	Name    string // lower case, as written in connector.kind
	Summary string // one line for people
	// Capabilities are what the kind can do at best. Each must be implemented by what Open
	// returns, unless Configured takes it back.
	Capabilities Capabilities
	// Configured returns what is left of the capabilities with a valid configuration. nil:
	// all.
	Configured func(config []byte) Capabilities
	// Config is a zero value of the configuration's type, from which its schema is
	// made. nil: not described.
	Config any
	// Access names the fields of a configuration, at its top level, that say no more than
	// by which way and with which rights the target is reached. After a change of any other
	// one the target may have to hold something else, and its channel is to be resynced.
	Access []string
	// NeedsJSON reports whether no payload but JSON can be written with a valid
	// configuration. nil: any payload can.
	NeedsJSON func(config []byte) bool
	// Check decodes a configuration strictly and validates it, without opening
	// anything or resolving a secret. Its error names every bad field.
	Check func(config []byte) error
	// Open makes a connector. It does not wait for the target to be there. A
	// configuration that cannot work gives an *Error of class Misconfigured.
	Open func(ctx context.Context, env Env, config []byte) (Connector, error)
}

// With returns the capabilities of the kind with a valid configuration.
func (k Kind) With(config []byte) Capabilities {
	if k.Configured == nil {
		return k.Capabilities
	}
	return k.Configured(config)
}

// A Catalog holds the kinds that a process knows. It is immutable and safe for
// concurrent use.
type Catalog struct{ kinds map[string]Kind }

// NewCatalog returns a catalog of these kinds. It panics if two have one name:
// that is a mistake in the program.
func NewCatalog(kinds ...Kind) *Catalog {
	c := &Catalog{kinds: make(map[string]Kind, len(kinds))}
	for _, k := range kinds {
		if _, twice := c.kinds[k.Name]; twice {
			panic("connector kind " + k.Name + " is in the catalog twice")
		}
		c.kinds[k.Name] = k
	}
	return c
}

// Kinds returns all kinds, ordered by name.
func (c *Catalog) Kinds() []Kind {
	out := make([]Kind, 0, len(c.kinds))
	for _, name := range slices.Sorted(maps.Keys(c.kinds)) {
		out = append(out, c.kinds[name])
	}
	return out
}

// Kind returns the kind of this name, or ErrUnknownKind with the names there
// are.
func (c *Catalog) Kind(name string) (Kind, error) {
	if k, ok := c.kinds[name]; ok {
		return k, nil
	}
	return Kind{}, fmt.Errorf("%w %q; there are: %s", ErrUnknownKind, name,
		strings.Join(slices.Sorted(maps.Keys(c.kinds)), ", "))
}
