package contents

import (
	"encoding/json"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// A Difference is how a field of two contents differs.
type Difference string

// The differences.
const (
	Changed   Difference = "changed"
	OnlyOurs  Difference = "only_ours"
	OnlyThere Difference = "only_there"
	Equal     Difference = "equal"
	Ignored   Difference = "ignored" // the target has it, and nothing would be sent
	Hidden    Difference = "hidden"
)

// A Field is one field of two contents.
type Field struct {
	Path       string          `json:"path" example:".status"`
	Difference Difference      `json:"difference" enum:"changed,only_ours,only_there,equal,ignored,hidden"`
	Ours       json.RawMessage `json:"ours,omitempty" doc:"What would be sent now"`
	Theirs     json.RawMessage `json:"theirs,omitempty" doc:"What the target holds"`
	// Equal is there for a hidden field.
	Equal   *bool `json:"equal,omitempty" doc:"Of a hidden field: whether both sides have the same value"`
	Clipped bool  `json:"clipped,omitempty" doc:"A value is longer than what is shown of it"`
}

// A Side is one of two contents, as JSON: all of it, and what people may see of it. nil
// stands for nothing.
type Side struct{ Full, Shown json.RawMessage }

// A Part is a part of two contents.
type Part struct {
	Name         string // "": all of it
	Ours, Theirs Side
	// Differs: it is another one, also where no field is.
	Differs bool
}

// A Diff is how two contents differ, field by field.
type Diff struct {
	Fields    []Field `json:"fields" doc:"At most 200. Those that differ come first"`
	More      int     `json:"fields_more" doc:"Fields that are left out"`
	Differing int     `json:"fields_differing" doc:"Of all fields, those that differ; a hidden one counts if it does"`
}

// MostFields is how many fields a Diff has at most.
const MostFields = 200

// maxPath bounds a path in a Diff, in bytes.
const maxPath = 512

// Compare compares two contents. Each value that is shown has room bytes at most. ignore
// says that nothing of ours would be sent.
func Compare(parts []Part, room int, ignore bool) Diff {
	c := comparer{room: room, ignore: ignore}
	for _, p := range parts {
		path, was := "", c.differing
		if p.Name != "" {
			path = step("", p.Name)
		}
		ours, theirs := nodeOf(p.Ours), nodeOf(p.Theirs)
		if !ours.there && !theirs.there {
			continue
		}
		c.walk(path, ours, theirs)
		if p.Differs && c.differing == was && ours.there && theirs.there && !ours.hidden() && !theirs.hidden() {
			c.add(path, Changed, ours, theirs)
		}
	}
	out := Diff{Fields: append([]Field{}, c.differ...), Differing: c.differing}
	out.Fields = append(out.Fields, c.same[:min(len(c.same), MostFields-len(out.Fields))]...)
	out.More = c.all - len(out.Fields)
	return out
}

// A node is a value of one side, and what is shown of it.
type node struct {
	there        bool
	value, shown any
}

func nodeOf(s Side) node {
	if s.Full == nil {
		return node{}
	}
	value, err := decode(s.Full)
	if err != nil {
		return node{there: true, value: string(s.Full), shown: nil}
	}
	n := node{there: true, value: value}
	if s.Shown != nil {
		n.shown, _ = decode(s.Shown) // else it is hidden
	}
	return n
}

// hidden reports whether a value may not be seen: what is shown in its place is another one.
func (n node) hidden() bool {
	if !n.there {
		return false
	}
	switch v := n.value.(type) {
	case map[string]any:
		_, is := n.shown.(map[string]any)
		return !is
	case []any:
		shown, is := n.shown.([]any)
		return !is || len(shown) != len(v)
	default:
		return n.value != n.shown
	}
}

// fields and elements return what is in a container; those of nothing are none.
func (n node) fields() map[string]any { m, _ := n.value.(map[string]any); return m }
func (n node) elements() []any        { l, _ := n.value.([]any); return l }

func (n node) field(name string) node {
	value, there := n.fields()[name]
	shown, _ := n.shown.(map[string]any)
	return node{there, value, shown[name]}
}

func (n node) element(i int) node {
	if i >= len(n.elements()) {
		return node{}
	}
	shown, _ := n.shown.([]any)
	return node{true, n.value.([]any)[i], shown[i]} //nolint:forcetypeassert // elements has looked
}

type comparer struct {
	room           int
	ignore         bool
	differ, same   []Field
	all, differing int
}

func (c *comparer) walk(path string, ours, theirs node) {
	switch {
	case ours.hidden() || theirs.hidden():
		c.add(path, Hidden, ours, theirs)
	case len(ours.fields())+len(theirs.fields()) > 0 && fits[map[string]any](ours) && fits[map[string]any](theirs):
		names := maps.Clone(ours.fields())
		if names == nil {
			names = map[string]any{}
		}
		maps.Copy(names, theirs.fields())
		for _, name := range slices.Sorted(maps.Keys(names)) {
			c.walk(step(path, name), ours.field(name), theirs.field(name))
		}
	case len(ours.elements())+len(theirs.elements()) > 0 && fits[[]any](ours) && fits[[]any](theirs):
		for i := range max(len(ours.elements()), len(theirs.elements())) {
			c.walk(into(path, "["+strconv.Itoa(i)+"]"), ours.element(i), theirs.element(i))
		}
	case !theirs.there:
		c.add(path, OnlyOurs, ours, theirs)
	case !ours.there:
		c.add(path, OnlyThere, ours, theirs)
	case same(ours.value, theirs.value):
		c.add(path, Equal, ours, theirs)
	default:
		c.add(path, Changed, ours, theirs)
	}
}

// fits reports whether a node can be gone through beside one that is a T.
func fits[T any](n node) bool {
	_, is := n.value.(T)
	return is || !n.there
}

// add counts a field, and keeps it while there is room.
func (c *comparer) add(path string, how Difference, ours, theirs node) {
	c.all++
	equal := how == Equal
	if how == Hidden {
		equal = ours.there && theirs.there && same(ours.value, theirs.value)
	}
	if how == OnlyThere && c.ignore {
		how = Ignored
	}
	list := &c.differ
	if equal || how == Ignored {
		list = &c.same
	} else {
		c.differing++
	}
	if len(*list) == MostFields {
		return
	}
	if path == "" {
		path = "."
	}
	f := Field{Path: ClipText(path, maxPath), Difference: how}
	if how == Hidden {
		f.Equal = &equal
	} else {
		f.Ours, f.Theirs = c.show(ours, &f), c.show(theirs, &f)
	}
	*list = append(*list, f)
}

// show returns a value as people see it.
func (c *comparer) show(n node, f *Field) json.RawMessage {
	if !n.there {
		return nil
	}
	data, err := encode(n.shown)
	if err != nil {
		return nil
	}
	out, clipped := Clip(data, c.room)
	if f.Clipped = f.Clipped || clipped; out == nil {
		out, _ = encode(strings.TrimSpace(clippedMark))
	}
	return out
}

var plainName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// step returns the path of a field, as package redact takes it.
func step(path, name string) string {
	if plainName.MatchString(name) {
		return into(path, "."+name)
	}
	quoted, _ := encode(name) // a text always has a form
	return into(path, "."+string(quoted))
}

// into returns a path with one more step. One that is longer than anybody sees stays as it is:
// a document can be deep, and its names long.
func into(path, step string) string {
	if len(path) > maxPath {
		return path
	}
	return path + step
}

// same reports whether two values are. Numbers are by what they are, not by how they are
// written.
func same(a, b any) bool {
	switch a := a.(type) {
	case json.Number:
		b, is := b.(json.Number)
		return is && plainNumber(string(a)) == plainNumber(string(b))
	case []any:
		b, is := b.([]any)
		return is && slices.EqualFunc(a, b, same)
	case map[string]any:
		b, is := b.(map[string]any)
		return is && maps.EqualFunc(a, b, same)
	default:
		return reflect.DeepEqual(a, b)
	}
}

// plainNumber returns a number without zeros that say nothing.
func plainNumber(text string) string {
	if strings.ContainsAny(text, "eE") {
		return text
	}
	if strings.Contains(text, ".") {
		text = strings.TrimSuffix(strings.TrimRight(text, "0"), ".")
	}
	if text == "-0" {
		return "0"
	}
	return text
}
