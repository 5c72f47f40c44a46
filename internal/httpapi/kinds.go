package httpapi

import (
	"context"
	"encoding"
	"net/http"
	"reflect"
	"strings"

	"github.com/hms-utl/extsync/pkg/connectors"
)

// A Kind is one connector kind.
type Kind struct {
	Name    string `json:"name"`
	Summary string `json:"summary"`
	// Capabilities are what it can do at best; a configuration may leave less.
	Capabilities connectors.Capabilities `json:"capabilities" doc:"What it can do at best, and how strong its guard is: atomic, conditional, by format, ledger or none"`
	Schema       map[string]any          `json:"schema,omitempty" doc:"JSON schema of connector.config: its fields and their types. What they may hold is checked by PUT with dry_run"`
}

type kindsOutput struct {
	Body struct {
		Kinds []Kind `json:"kinds"`
	}
}

func (s *server) kindsRoute() {
	register(s, route{
		id: "list-connector-kinds", method: http.MethodGet, path: "/v1/connector-kinds", tag: "Channels",
		summary: "List the connector kinds: what they can do, and the schema of their configuration", rule: read, status: http.StatusOK,
	}, func(context.Context, *struct{}) (*kindsOutput, error) {
		out := &kindsOutput{}
		for _, k := range s.o.Catalog.Kinds() {
			kind := Kind{Name: k.Name, Summary: k.Summary, Capabilities: k.Capabilities}
			if k.Config != nil {
				kind.Schema = schemaOf(reflect.TypeOf(k.Config))
				kind.Schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
			}
			out.Body.Kinds = append(out.Body.Kinds, kind)
		}
		return out, nil
	})
}

// schemaOf describes a configuration's type by the names in its yaml tags, which
// are what the strict decoder goes by.
func schemaOf(t reflect.Type) map[string]any {
	if reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]()) {
		return map[string]any{"type": "string"}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return schemaOf(t.Elem())
	case reflect.Bool:
		return map[string]any{"type": "boolean"}
	case reflect.String:
		return map[string]any{"type": "string"}
	case reflect.Float32, reflect.Float64:
		return map[string]any{"type": "number"}
	case reflect.Slice, reflect.Array:
		return map[string]any{"type": "array", "items": schemaOf(t.Elem())}
	case reflect.Map:
		return map[string]any{"type": "object", "additionalProperties": schemaOf(t.Elem())}
	case reflect.Struct:
		fields := map[string]any{}
		addFields(t, fields)
		return map[string]any{"type": "object", "properties": fields, "additionalProperties": false}
	case reflect.Interface:
		return map[string]any{}
	default: // the kinds of whole numbers
		return map[string]any{"type": "integer"}
	}
}

func addFields(t reflect.Type, into map[string]any) {
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		switch {
		case !f.IsExported() || name == "-":
		case options == "inline":
			addFields(f.Type, into)
		case name == "":
			into[strings.ToLower(f.Name)] = schemaOf(f.Type)
		default:
			into[name] = schemaOf(f.Type)
		}
	}
}
