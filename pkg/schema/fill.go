package schema

import (
	"reflect"
	"slices"
	"strconv"

	"go.yaml.in/yaml/v3"
)

// Fill gives every zero field of what a pointer points to its default, if it has one, also
// in structs below. Lists, maps and pointers are entered where they are there.
func Fill(out any) {
	v := reflect.ValueOf(out).Elem()
	fill(Of(v.Type()), v)
}

func fill(t *Type, v reflect.Value) {
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return
		}
		v = v.Elem()
	}
	switch t.Kind {
	case Object:
		for i := range t.Fields {
			f := &t.Fields[i]
			at := v.FieldByIndex(f.index)
			if f.Default != "" && at.IsZero() {
				if err := f.setText(at, f.Default); err != nil {
					panic("schema: the default of " + f.Name + ": " + err.Error())
				}
			}
			fill(f.Type, at)
		}
	case List:
		for i := range v.Len() {
			fill(t.Elem, v.Index(i))
		}
	case Map:
		if t.Elem.Kind != Object {
			return
		}
		for _, key := range v.MapKeys() {
			elem := reflect.New(v.Type().Elem()).Elem()
			elem.Set(v.MapIndex(key))
			fill(t.Elem, elem)
			v.SetMapIndex(key, elem)
		}
	}
}

// setText gives v the value of a default or an example.
func (f *Field) setText(v reflect.Value, text string) error {
	if v.Kind() == reflect.Pointer {
		v.Set(reflect.New(v.Type().Elem()))
		v = v.Elem()
	}
	if f.Type.byText || f.Type.Kind != Object && f.Type.Kind != List && f.Type.Kind != Map && f.Type.Kind != Any {
		return set(v, text)
	}
	n := yamlOf(text)
	if n == nil {
		return &Error{[]Problem{{Path: f.Name, Message: strconv.Quote(text) + " is not YAML"}}}
	}
	d := &decoder{document: &document{oneLine: true}}
	d.value(f.Name, n, f, v, 0)
	if len(d.problems) > 0 {
		return &Error{d.problems}
	}
	return nil
}

// yamlOf returns the value that a text of a tag says, nil if it is not YAML.
func yamlOf(text string) *yaml.Node {
	var n yaml.Node
	if err := yaml.Unmarshal([]byte(text), &n); err != nil || len(n.Content) != 1 {
		return nil
	}
	return n.Content[0]
}

// text returns a scalar as configurations write it.
func text(v reflect.Value) string {
	if v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	if m, ok := v.Interface().(interface{ MarshalText() ([]byte, error) }); ok {
		if b, err := m.MarshalText(); err == nil {
			return string(b)
		}
	}
	switch v.Kind() {
	case reflect.String:
		return v.String()
	case reflect.Bool:
		return strconv.FormatBool(v.Bool())
	case reflect.Float32, reflect.Float64:
		return strconv.FormatFloat(v.Float(), 'f', -1, 64)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return strconv.FormatUint(v.Uint(), 10)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return strconv.FormatInt(v.Int(), 10)
	default:
		return ""
	}
}

// holds reports whether a condition is met in a struct of the type.
func (c Condition) holds(t *Type, v reflect.Value) bool {
	if c.Field == "" {
		return true
	}
	f := t.field(c.Field)
	if f == nil {
		panic("schema: a condition names the field " + c.Field + ", which is not there")
	}
	return slices.Contains(c.Values, text(v.FieldByIndex(f.index)))
}
