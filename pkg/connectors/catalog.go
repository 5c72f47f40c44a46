package connectors

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"

	"github.com/hms-utl/extsync/pkg/schema"
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
	// Config is a zero value of the configuration's type, a struct whose tags describe it
	// (package schema). nil: not described.
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
	// Explain says what a sample of the target's answer to an attempt would mean, by a valid
	// configuration. It reads no secret and calls nobody. nil: the kind does not read samples.
	Explain func(ctx context.Context, config []byte, a Attempt, sample []byte) (Explanation, error)
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

// Fields describes the configuration, nil if the kind does not.
func (k Kind) Fields() *schema.Type {
	if k.Config == nil {
		return nil
	}
	return schema.Of(reflect.TypeOf(k.Config))
}

// Schema returns the JSON Schema of the configuration, nil if the kind does not describe
// it. The caller may change it.
func (k Kind) Schema() map[string]any {
	if k.Config == nil {
		return nil
	}
	return k.Fields().JSON()
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
	for _, name := range c.Names() {
		out = append(out, c.kinds[name])
	}
	return out
}

// Names returns the names of all kinds, in order.
func (c *Catalog) Names() []string { return slices.Sorted(maps.Keys(c.kinds)) }

// Kind returns the kind of this name, or ErrUnknownKind with the names there
// are.
func (c *Catalog) Kind(name string) (Kind, error) {
	if k, ok := c.kinds[name]; ok {
		return k, nil
	}
	return Kind{}, fmt.Errorf("%w: %s", ErrUnknownKind, schema.NoneOf(name, c.Names()))
}
