package schema

import (
	"encoding/json"
	"reflect"
	"strconv"
)

// Draft is the version of JSON Schema that is written: the newest that editors know whole.
const Draft = "http://json-schema.org/draft-07/schema#"

// JSON returns the JSON Schema of a value of the type. What JSON Schema has no word for
// has names that begin with x-: x-order (of a field in its object), x-group, x-advanced,
// x-secret, x-reference (it must refer to a secret), x-when (the field beside it and its
// values), x-min and x-max (of durations and sizes). The caller may change it.
func (t *Type) JSON() map[string]any {
	return (&Field{Type: t, Format: t.Format}).json()
}

func (f *Field) json() map[string]any {
	out := map[string]any{}
	switch t := f.Type; t.Kind {
	case Object:
		properties, required, conditions := map[string]any{}, []string{}, []any{}
		for i := range t.Fields {
			field := &t.Fields[i]
			properties[field.Name] = field.property(i)
			switch {
			case field.Required && field.When.Field == "":
				required = append(required, field.Name)
			case field.Required:
				conditions = append(conditions, field.requiredIf())
			}
		}
		out["type"], out["properties"], out["additionalProperties"] = "object", properties, false
		if len(required) > 0 {
			out["required"] = required
		}
		if len(conditions) > 0 {
			out["allOf"] = conditions
		}
	case List:
		out["type"], out["items"] = "array", f.item().json()
		if t.byText {
			out["type"] = []string{"array", "string"}
		}
	case Map:
		out["type"], out["additionalProperties"] = "object", f.item().json()
		if t.byText {
			out["type"] = []string{"object", "string"}
		}
	case Any:
	default:
		f.scalarJSON(out)
	}
	return out
}

// requiredIf is the schema of an object in which the field is required where its condition
// holds.
func (f *Field) requiredIf() map[string]any {
	return map[string]any{
		"if":   map[string]any{"properties": map[string]any{f.When.Field: map[string]any{"enum": f.When.Values}}, "required": []string{f.When.Field}},
		"then": map[string]any{"required": []string{f.Name}},
	}
}

// property is the schema of a field, with what its tags say.
func (f *Field) property(order int) map[string]any {
	out := f.json()
	out["title"], out["x-order"] = f.Label, order
	for name, text := range map[string]string{"description": f.Doc, "x-group": f.Group} {
		if text != "" {
			out[name] = text
		}
	}
	if f.Default != "" {
		out["default"] = f.value(f.Default)
	}
	if f.Example != "" {
		out["examples"] = []any{f.value(f.Example)}
	}
	for name, is := range map[string]bool{"x-advanced": f.Advanced, "x-secret": f.Secret(), "x-reference": f.Reference} {
		if is {
			out[name] = true
		}
	}
	if f.When.Field != "" {
		out["x-when"] = map[string]any{f.When.Field: f.When.Values}
	}
	f.limits(out)
	return out
}

// patterns are those of the formats that have one.
func pattern(format string) string {
	switch format {
	case FormatDuration:
		const number = `([0-9]+(\.[0-9]*)?|\.[0-9]+)`
		const units = number + `(ns|us|µs|μs|ms|s|m|h)`
		return `^[+-]?(0|` + number + `d(` + units + `)*|(` + units + `)+)$`
	case FormatBytes:
		return `^ *[0-9]+ *([KMGT]iB)? *$`
	default:
		return ""
	}
}

func (f *Field) scalarJSON(out map[string]any) {
	out["type"] = string(f.Type.Kind)
	if f.Type.Format == FormatBytes {
		out["type"] = []string{"string", "integer"}
	}
	if f.Format != "" {
		out["format"] = f.Format
	}
	switch p := pattern(f.Type.Format); {
	case f.Reference:
		out["pattern"] = referencePattern
	case p != "":
		out["pattern"] = p
	}
	if len(f.Enum) > 0 {
		values := make([]any, len(f.Enum))
		for i, text := range f.Enum {
			values[i] = (&Field{Type: f.Type}).value(text)
		}
		out["enum"] = values
	}
}

// limits adds the limits in the words that JSON Schema has for them.
func (f *Field) limits(out map[string]any) {
	low, high := "", ""
	switch f.Type.Kind {
	case List:
		low, high = "minItems", "maxItems"
	case Map:
		low, high = "minProperties", "maxProperties"
	case Integer, Number:
		low, high = "minimum", "maximum"
	case String:
		low, high = "x-min", "x-max"
		if f.Type.goType.Kind() == reflect.String {
			low, high = "minLength", "maxLength" // in characters, of which there are no more than bytes
		}
	}
	for name, limit := range map[string]string{low: f.Min, high: f.Max} {
		if limit == "" {
			continue
		}
		if n, err := strconv.ParseFloat(limit, 64); err == nil {
			out[name] = n
		} else {
			out[name] = limit
		}
	}
}

// value returns the text of a default, an example or one of some values as JSON has it.
func (f *Field) value(value string) any {
	v := reflect.New(f.Type.goType).Elem()
	if err := f.setText(v, value); err != nil {
		panic("schema: a value of " + f.Name + ": " + err.Error())
	}
	switch f.Type.Kind {
	case Integer, Number, Boolean:
		return v.Interface()
	case String:
		return value
	}
	d := &decoder{document: &document{}}
	return json.RawMessage(d.json(f.Name, yamlOf(value), nil, 0))
}
