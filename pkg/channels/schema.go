package channels

import (
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/schema"
)

// Schema returns the JSON Schema of a channel with a connector of one of the kinds. The
// caller may change it.
func Schema(catalog *connectors.Catalog) map[string]any {
	return withKinds(schema.For[Config]().JSON(), catalog)
}

// FieldsSchema returns the JSON Schema of a channel without those of the kinds: a form has
// them from the list of kinds. The caller may change it.
func FieldsSchema() map[string]any { return schema.For[Config]().JSON() }

// FileSchema returns the JSON Schema of a file of channels, for editors.
func FileSchema(catalog *connectors.Catalog) map[string]any {
	out := schema.For[File]().JSON()
	out["$schema"], out["title"] = schema.Draft, "Topics and channels of extsync"
	withKinds(property(out, "channels")["items"], catalog)
	return out
}

// withKinds says in the schema of a channel which kinds there are, and what the
// configuration of each may be.
func withKinds(channel any, catalog *connectors.Catalog) map[string]any {
	c, _ := channel.(map[string]any)
	connector := property(c, "connector")
	var conditions []any
	for _, kind := range catalog.Kinds() {
		if config := kind.Schema(); config != nil {
			conditions = append(conditions, map[string]any{
				"if":   map[string]any{"properties": map[string]any{"kind": map[string]any{"const": kind.Name}}, "required": []string{"kind"}},
				"then": map[string]any{"properties": map[string]any{"config": config}, "required": []string{"config"}},
			})
		}
	}
	property(connector, "kind")["enum"] = catalog.Names()
	if len(conditions) > 0 {
		connector["allOf"] = conditions
	}
	return c
}

// property returns the schema of a field of an object.
func property(of map[string]any, name string) map[string]any {
	properties, _ := of["properties"].(map[string]any)
	out, _ := properties[name].(map[string]any)
	return out
}
