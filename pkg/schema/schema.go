// Package schema makes one source of what a configuration may say: the Go struct that
// holds it. From the struct and its tags come the strict reading of YAML and JSON, the
// defaults, the checks, a JSON Schema, and the text for people.
//
// The name of a field is its yaml tag. A field may have these tags besides:
//
//	doc        what it means, and what goes wrong with a bad value. Every field has one
//	default    the value where none is given
//	example    a value that is good
//	enum       the values that are allowed, separated by commas
//	min, max   the limits: of a number, of the bytes of a text, of the length of a list
//	required   "true": it must be given, where the struct that it is in is given
//	reference  "true": it must refer to a secret
//	format     what a text is: jq, url, template, pem, path, host
//	when       mode=table|append: it means something only beside such a field
//	label      the name for people, where the field's own does not do
//	group      the heading under which it stands
//	advanced   "true": most people leave it alone
//
// Defaults and examples of lists, maps and structs are written in YAML.
package schema

import (
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"sync"
)

// A Kind is what a value is in a document.
type Kind string

// The kinds of values.
const (
	Object  Kind = "object"
	List    Kind = "array"
	Map     Kind = "map"
	String  Kind = "string"
	Integer Kind = "integer"
	Number  Kind = "number"
	Boolean Kind = "boolean"
	Any     Kind = "any"
)

// The formats that types have by themselves.
const (
	FormatDuration  = "go-duration" // 500ms, 30s, 7d, see ParseDuration: not the one that JSON Schema calls duration
	FormatBytes     = "byte-size"   // 1048576, 64MiB
	FormatSecretRef = "secret-ref"  // a text that may refer to secrets
)

// A Formatter is a type of its own in configurations. ConfigFormat returns one of the
// formats of this package.
type Formatter interface{ ConfigFormat() string }

// A Type describes a value. It is immutable.
type Type struct {
	Kind   Kind
	Format string
	Elem   *Type   // of List and Map
	Fields []Field // of Object, in the order of the struct

	byText bool // a list or map that may also be one text
	goType reflect.Type
}

// A Field is one field of an object, as its tags describe it.
type Field struct {
	Name, Label, Doc, Default, Example, Min, Max, Group, Format string
	Enum                                                        []string
	Required, Reference, Advanced                               bool
	// When names the field beside this one, and its values, with which this one means
	// something. An empty name: always.
	When Condition
	Type *Type

	index   []int
	pointer bool
}

// A Condition holds where a field has one of these values.
type Condition struct {
	Field  string
	Values []string
}

func (c Condition) String() string {
	return c.Field + " is " + strings.Join(c.Values, " or ")
}

// Secret reports whether the value may be a secret, or the way to one.
func (f *Field) Secret() bool { return f.scalar().Format == FormatSecretRef }

// scalar returns the type of the value, or of its elements.
func (f *Field) scalar() *Type {
	t := f.Type
	for t.Kind == List || t.Kind == Map {
		t = t.Elem
	}
	return t
}

// types holds what Of has made: the types of a program do not change.
var types sync.Map //nolint:gochecknoglobals // a cache of what never changes, as encoding/json has one

// Of describes a type. It panics if the type cannot be in a configuration: that is a
// mistake in the program.
func Of(t reflect.Type) *Type {
	if known, ok := types.Load(t); ok {
		return known.(*Type)
	}
	made := build(t, 0)
	types.Store(t, made)
	return made
}

// For describes the type T.
func For[T any]() *Type { return Of(reflect.TypeFor[T]()) }

// mostLevels bounds how deep types may lie in each other.
const mostLevels = 24

func build(t reflect.Type, level int) *Type {
	if level > mostLevels {
		panic("schema: " + t.String() + " contains itself")
	}
	if t.Kind() == reflect.Pointer {
		return build(t.Elem(), level+1)
	}
	out := &Type{goType: t}
	if f, ok := reflect.Zero(t).Interface().(Formatter); ok {
		out.Format = f.ConfigFormat()
	}
	text := reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]())
	switch {
	case text && t.Kind() != reflect.Slice && t.Kind() != reflect.Map:
		out.Kind = String
		return out
	case !text && reflect.PointerTo(t).Implements(reflect.TypeFor[json.Unmarshaler]()), t.Kind() == reflect.Interface:
		out.Kind = Any
		return out
	}
	out.byText = text
	switch t.Kind() {
	case reflect.String:
		out.Kind = String
	case reflect.Bool:
		out.Kind = Boolean
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64, reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		out.Kind = Integer
	case reflect.Float32, reflect.Float64:
		out.Kind = Number
	case reflect.Slice:
		out.Kind, out.Elem = List, build(t.Elem(), level+1)
	case reflect.Map:
		if t.Key().Kind() != reflect.String {
			panic("schema: " + t.String() + " has keys that are no texts")
		}
		out.Kind, out.Elem = Map, build(t.Elem(), level+1)
	case reflect.Struct:
		out.Kind = Object
		out.addFields(t, nil, level)
	default:
		panic("schema: " + t.String() + " cannot be in a configuration")
	}
	return out
}

func (t *Type) addFields(in reflect.Type, index []int, level int) {
	for i := range in.NumField() {
		sf := in.Field(i)
		name, options, _ := strings.Cut(sf.Tag.Get("yaml"), ",")
		at := append(append([]int(nil), index...), i)
		switch {
		case name == "-" || !sf.IsExported():
			continue
		case options == "inline":
			t.addFields(sf.Type, at, level)
			continue
		case name == "":
			name = strings.ToLower(sf.Name)
		}
		f := Field{Name: name, index: at, pointer: sf.Type.Kind() == reflect.Pointer, Type: build(sf.Type, level+1)}
		f.read(sf.Tag)
		t.Fields = append(t.Fields, f)
	}
}

func (f *Field) read(tag reflect.StructTag) {
	f.Doc, f.Default, f.Example = tag.Get("doc"), tag.Get("default"), tag.Get("example")
	f.Min, f.Max, f.Group = tag.Get("min"), tag.Get("max"), tag.Get("group")
	f.Required, f.Reference, f.Advanced = tag.Get("required") == "true", tag.Get("reference") == "true", tag.Get("advanced") == "true"
	if f.Label = tag.Get("label"); f.Label == "" {
		f.Label = labelOf(f.Name)
	}
	if f.Format = tag.Get("format"); f.Format == "" {
		f.Format = f.scalar().Format
	}
	if list := tag.Get("enum"); list != "" {
		f.Enum = strings.Split(list, ",")
	}
	if condition := tag.Get("when"); condition != "" {
		name, values, ok := strings.Cut(condition, "=")
		if !ok {
			panic(fmt.Sprintf("schema: field %s: when:%q has no =", f.Name, condition))
		}
		f.When = Condition{name, strings.Split(values, "|")}
	}
}

// labelOf makes a name for people: "token_url" is "Token URL".
func labelOf(name string) string {
	words := strings.Split(name, "_")
	for i, w := range words {
		switch {
		case strings.Contains(" api ca cidrs dsn id jq json sql tls url ", " "+w+" "):
			words[i] = strings.ToUpper(w)
		case i == 0 && w != "":
			words[i] = strings.ToUpper(w[:1]) + w[1:]
		}
	}
	return strings.Join(words, " ")
}

// field returns the field of a name, nil if there is none.
func (t *Type) field(name string) *Field {
	for i := range t.Fields {
		if t.Fields[i].Name == name {
			return &t.Fields[i]
		}
	}
	return nil
}

// names returns the names of the fields, in their order.
func (t *Type) names() []string {
	out := make([]string, len(t.Fields))
	for i := range t.Fields {
		out[i] = t.Fields[i].Name
	}
	return out
}
