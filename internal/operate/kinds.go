package operate

import (
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/schema"
)

// A Kind is one connector kind.
type Kind struct {
	Name    string `json:"name"`
	Summary string `json:"summary"`
	// Capabilities are what it can do at best; a configuration may leave less.
	Capabilities connectors.Capabilities `json:"capabilities" doc:"What it can do at best, and how strong its guard is: atomic, conditional, by format, ledger or none"`
	Schema       map[string]any          `json:"schema,omitempty" doc:"JSON schema of connector.config. Fields have x-order, x-group, x-advanced, x-secret and x-when for forms"`
}

// A KindList is connector kinds in the order of their names.
type KindList struct {
	Kinds []Kind `json:"kinds"`
}

// Kinds lists the kinds of a catalog.
func Kinds(catalog *connectors.Catalog) KindList {
	out := KindList{Kinds: []Kind{}}
	for _, k := range catalog.Kinds() {
		out.Kinds = append(out.Kinds, KindOf(k))
	}
	return out
}

// KindOf describes one kind.
func KindOf(k connectors.Kind) Kind {
	out := Kind{Name: k.Name, Summary: k.Summary, Capabilities: k.Capabilities, Schema: k.Schema()}
	if out.Schema != nil {
		out.Schema["$schema"], out.Schema["title"] = schema.Draft, k.Summary
	}
	return out
}
