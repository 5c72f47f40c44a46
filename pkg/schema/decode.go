package schema

import (
	"bytes"
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Decode reads one YAML or JSON document of up to MaxLen bytes into out, a pointer to a
// struct or a map, after it has filled in the defaults. Unknown and repeated fields are
// refused. What is wrong is noted, and the rest is read all the same. An empty document
// leaves out as it is, with its defaults. null is as if the field were not there.
func (p *Problems) Decode(data []byte, out any) {
	v := reflect.ValueOf(out).Elem()
	t := Of(v.Type())
	fill(t, v)
	doc, bad := parse(data)
	if doc == nil {
		p.list, p.unread = append(p.list, bad...), map[string]bool{"": true}
		return
	}
	p.document = doc
	if doc.root == nil {
		return
	}
	d := &decoder{document: doc}
	d.value("", doc.root, &Field{Type: t}, v, 0)
	p.unread = d.unread
	p.list = append(p.list, d.problems...)
}

// DecodeFile is Decode of a file, whose name is told with each problem.
func (p *Problems) DecodeFile(name string, data []byte, out any) {
	p.InFile(name).Decode(data, out)
}

type decoder struct {
	*document
	problems []Problem
	unread   map[string]bool
	spread   int          // bytes of all values so far
	merging  []*yaml.Node // the mappings that are being merged in
}

// fail notes that a value could not be read.
func (d *decoder) fail(path, format string, args ...any) {
	if d.unread == nil {
		d.unread = map[string]bool{}
	}
	d.unread[path] = true
	d.note(path, format, args...)
}

func (d *decoder) note(path, format string, args ...any) {
	d.problems = append(d.problems, Problem{Path: path, Message: fmt.Sprintf(format, args...)})
}

// enter counts a value, and reports whether it may be looked at.
func (d *decoder) enter(path string, n *yaml.Node, depth int) bool {
	if d.spread > mostSpread {
		return false // said already
	}
	d.spread += len(n.Value) + valueCost
	switch {
	case d.spread > mostSpread:
		d.fail(path, "the aliases of the document make it too large: give each value in one place")
	case depth > mostDepth:
		d.fail(path, "it is nested deeper than %d levels", mostDepth)
	case n.Kind == yaml.ScalarNode || n.Tag == "" || strings.HasPrefix(n.ShortTag(), "!!"):
		return true
	default:
		d.fail(path, "tags such as %s are not used here", clip(n.Tag))
	}
	return false
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

// value reads a node into v, as the field says.
func (d *decoder) value(path string, n *yaml.Node, f *Field, v reflect.Value, depth int) {
	node := resolve(n)
	if node == nil || !d.enter(path, node, depth) || isNull(node) {
		return
	}
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			v.Set(reflect.New(v.Type().Elem()))
			fill(f.Type, v.Elem())
		}
		v = v.Elem()
	}
	switch t := f.Type; {
	case t.Kind == Any:
		d.any(path, node, v, depth)
	case node.Kind == yaml.ScalarNode && (t.byText || t.Kind != Object && t.Kind != List && t.Kind != Map):
		d.scalar(path, node, f, v)
	case t.Kind == Object && node.Kind == yaml.MappingNode:
		d.object(path, node, t, v, depth)
	case t.Kind == List && node.Kind == yaml.SequenceNode:
		d.list(path, node, f, v, depth)
	case t.Kind == Map && node.Kind == yaml.MappingNode:
		d.mapping(path, node, f, v, depth)
	default:
		d.fail(path, "%s", f.wants(node))
	}
}

// wants says that a node is of another shape than the field.
func (f *Field) wants(n *yaml.Node) string {
	is := "a value"
	switch n.Kind {
	case yaml.MappingNode:
		is = "a mapping (name: value)"
	case yaml.SequenceNode:
		is = "a list"
	}
	switch f.Type.Kind {
	case Object:
		return is + " cannot be here; it takes the fields " + strings.Join(f.Type.names(), ", ")
	case List:
		return is + " cannot be here; it takes a list, as [a, b]"
	case Map:
		return is + " cannot be here; it takes a mapping, as {name: value}"
	default:
		return is + " cannot be here; it takes " + f.Type.noun()
	}
}

// noun names what a scalar is.
func (t *Type) noun() string {
	switch {
	case t.Format == FormatDuration:
		return durationNoun
	case t.Format == FormatBytes:
		return "a size such as 1048576, 64MiB or 2GiB"
	case t.Kind == Boolean:
		return "true or false"
	case t.Kind == Integer:
		return "a whole number"
	case t.Kind == Number:
		return "a number"
	default:
		return "a text"
	}
}

func (d *decoder) object(path string, n *yaml.Node, t *Type, v reflect.Value, depth int) {
	for _, e := range d.entries(path, n) {
		at := segment(path, e.name)
		f := t.field(e.name)
		if f == nil {
			d.note(at, "%s", noField(e.name, t.names()))
			continue
		}
		d.value(at, e.value, f, v.FieldByIndex(f.index), depth+1)
	}
}

func (d *decoder) list(path string, n *yaml.Node, f *Field, v reflect.Value, depth int) {
	out := reflect.MakeSlice(v.Type(), 0, len(n.Content))
	item := f.item()
	for i, node := range n.Content {
		if d.spread > mostSpread {
			return
		}
		elem := reflect.New(v.Type().Elem()).Elem()
		fill(item.Type, elem)
		d.value(path+"["+strconv.Itoa(i)+"]", node, item, elem, depth+1)
		out = reflect.Append(out, elem)
	}
	v.Set(out)
}

func (d *decoder) mapping(path string, n *yaml.Node, f *Field, v reflect.Value, depth int) {
	list := d.entries(path, n)
	out := reflect.MakeMapWithSize(v.Type(), len(list))
	item := f.item()
	for _, e := range list {
		elem := reflect.New(v.Type().Elem()).Elem()
		fill(item.Type, elem)
		d.value(segment(path, e.name), e.value, item, elem, depth+1)
		out.SetMapIndex(reflect.ValueOf(e.name).Convert(v.Type().Key()), elem)
	}
	v.Set(out)
}

// item returns the field of each value of a list or map.
func (f *Field) item() *Field {
	return &Field{Type: f.Type.Elem, Format: f.Format, Enum: f.Enum, Reference: f.Reference}
}

func (d *decoder) scalar(path string, n *yaml.Node, f *Field, v reflect.Value) {
	kind := f.Type.Kind
	switch tag := n.ShortTag(); {
	case !strings.HasPrefix(tag, "!!") || tag == "!!binary":
		d.fail(path, "tags such as %s are not used here", clip(n.Tag))
		return
	case kind == Boolean && tag != "!!bool", kind == Integer && tag != "!!int" && !f.Type.isText(),
		kind == Number && tag != "!!int" && tag != "!!float":
		d.fail(path, "%s is not %s", f.shown(n.Value), f.Type.noun())
		return
	}
	if err := set(v, n.Value); err != nil {
		d.fail(path, "%s", f.refusal(n.Value, err))
	}
}

// refusal says why a text is no value of the field.
func (f *Field) refusal(text string, err error) string {
	if f.Type.isText() && f.Type.Format == "" {
		return err.Error() // the type's own words
	}
	if f.Type.Format == FormatDuration && !f.Secret() {
		return notDuration(text).Error()
	}
	return f.shown(text) + " is not " + f.Type.noun()
}

// shown repeats a value in a message, if it is no secret.
func (f *Field) shown(text string) string {
	if f.Secret() {
		return "the value"
	}
	if _, err := strconv.ParseFloat(text, 64); err == nil && f.Type.Kind == Integer {
		return clip(text)
	}
	return quoted(text)
}

func quoted(text string) string { return strconv.Quote(clip(text)) }

// isText reports whether the type reads its values itself.
func (t *Type) isText() bool {
	return reflect.PointerTo(t.goType).Implements(reflect.TypeFor[encoding.TextUnmarshaler]())
}

// set gives v the value of a text.
func set(v reflect.Value, text string) error {
	if u, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		return u.UnmarshalText([]byte(text))
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Bool:
		b, err := strconv.ParseBool(strings.ToLower(text))
		v.SetBool(b)
		return err
	case reflect.Float32, reflect.Float64:
		x, err := strconv.ParseFloat(text, v.Type().Bits())
		v.SetFloat(x)
		return err
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		x, err := strconv.ParseUint(text, 0, v.Type().Bits())
		v.SetUint(x)
		return err
	default:
		x, err := strconv.ParseInt(text, 0, v.Type().Bits())
		v.SetInt(x)
		return err
	}
	return nil
}

// any reads a node of any shape as JSON, with its numbers as they are written.
func (d *decoder) any(path string, n *yaml.Node, v reflect.Value, depth int) {
	dec := json.NewDecoder(bytes.NewReader(d.json(path, n, nil, depth)))
	dec.UseNumber()
	if err := dec.Decode(v.Addr().Interface()); err != nil {
		d.fail(path, "it cannot be read")
	}
}
