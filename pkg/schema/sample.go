package schema

import (
	"encoding/json"
	"slices"
	"strings"
)

// Sample returns a small configuration made of examples: what is required, and the field
// at a path of Lines, with what it means something beside. An empty path: only what is
// required.
func (t *Type) Sample(path string) map[string]any { return t.sample("", path, nil) }

func (t *Type) sample(at, path string, out map[string]any) map[string]any {
	if out == nil {
		out = map[string]any{}
	}
	for i := range t.Fields {
		f := &t.Fields[i]
		if here := segment(at, f.Name); leads(here, path) {
			if f.When.Field != "" {
				out[f.When.Field] = f.When.Values[0]
			}
			out[f.Name] = f.sample(here, path)
		}
	}
	for i := range t.Fields {
		f := &t.Fields[i]
		if _, there := out[f.Name]; !there && f.Required && f.When.met(t, out) {
			out[f.Name] = f.sample("", "")
		}
	}
	return out
}

// met reports whether a condition holds in an object of the type.
func (c Condition) met(t *Type, object map[string]any) bool {
	if c.Field == "" {
		return true
	}
	value, ok := object[c.Field].(string)
	if !ok {
		value = t.field(c.Field).Default
	}
	return slices.Contains(c.Values, value)
}

// sample returns a value of the field that has what is at a path in it, "" for nothing.
func (f *Field) sample(at, path string) any {
	switch rest := strings.TrimPrefix(path, at); f.Type.Kind {
	case Object:
		example, _ := f.anExample().(map[string]any)
		return f.Type.sample(at, path, example)
	case List:
		if strings.HasPrefix(rest, "[]") {
			return []any{f.item().sample(at+"[]", path)}
		}
		if f.Example == "" && f.Default == "" {
			return []any{f.item().sample("", "")}
		}
	case Map:
		if strings.HasPrefix(rest, ".NAME") {
			return map[string]any{"NAME": f.item().sample(at+".NAME", path)}
		}
	case Boolean:
		return true
	}
	return f.anExample()
}

// anExample returns the example, the default or the first value that is allowed.
func (f *Field) anExample() any {
	text := f.Example
	switch {
	case text != "":
	case f.Default != "":
		text = f.Default
	case len(f.Enum) > 0:
		text = f.Enum[0]
	default:
		return nil
	}
	v := f.value(text)
	raw, ok := v.(json.RawMessage)
	if !ok {
		return v
	}
	var out any
	if json.Unmarshal(raw, &out) != nil {
		return nil
	}
	return out
}
