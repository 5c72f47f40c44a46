package schema

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// A Line is a field with its path, for a list of all fields.
type Line struct {
	Path  string // auth.oauth2.token_url; headers.NAME; columns[].name
	Group string // that of the field, or of what it lies in
	*Field
}

// Lines returns all fields of an object, and of those below it, in their order.
func (t *Type) Lines() []Line { return t.lines("", "", false) }

func (t *Type) lines(path, group string, advanced bool) []Line {
	var out []Line
	for i := range t.Fields {
		f := t.Fields[i]
		f.Advanced = f.Advanced || advanced
		line := Line{Path: segment(path, f.Name), Group: f.Group, Field: &f}
		if line.Group == "" {
			line.Group = group
		}
		out = append(out, line)
		below, at := f.Type, line.Path
		for below.Kind == List || below.Kind == Map {
			if below.Kind == List {
				at += "[]"
			} else {
				at += ".NAME"
			}
			below = below.Elem
		}
		out = append(out, below.lines(at, line.Group, f.Advanced)...)
	}
	return out
}

// A Group is fields that belong together.
type Group struct {
	Name  string // "Other" where no tag has one
	Lines []Line
}

// Groups returns all fields by their groups, each where its first field stands.
func (t *Type) Groups() []Group {
	var out []Group
	for _, line := range t.Lines() {
		name := cmp.Or(line.Group, "Other")
		i := slices.IndexFunc(out, func(g Group) bool { return g.Name == name })
		if i < 0 {
			i, out = len(out), append(out, Group{Name: name})
		}
		out[i].Lines = append(out[i].Lines, line)
	}
	return out
}

// Takes says what the value is, its limits included: "a whole number, 1..4096".
func (f *Field) Takes() string {
	s := f.takes()
	switch {
	case f.Min != "" && f.Max != "":
		s += ", " + f.Min + ".." + f.Max
	case f.Min != "":
		s += ", at least " + f.Min
	case f.Max != "":
		s += ", at most " + f.Max
	}
	if (f.Min != "" || f.Max != "") && f.Type.Kind == String && f.Type.Format != FormatDuration && f.Type.Format != FormatBytes {
		s += " bytes"
	}
	return s
}

func (f *Field) takes() string {
	switch f.Type.Kind {
	case List:
		return "a list of " + plural(f.item())
	case Map:
		return "a mapping of names to " + plural(f.item())
	case Object:
		return "fields"
	case Any:
		return "any value"
	}
	switch {
	case len(f.Enum) > 0:
		return strings.Join(f.Enum, " | ")
	case f.Reference:
		return "a text with a reference to a secret"
	case f.Format == FormatDuration:
		return "a duration"
	case f.Format == FormatBytes:
		return "a size"
	case f.Format == FormatSecretRef:
		return "a text, may refer to secrets"
	case f.Format == "jq":
		return "a jq expression"
	case f.Format == "path":
		return "a path"
	case f.Format != "" && f.Type.Kind == String:
		return "a text (" + f.Format + ")"
	}
	return f.Type.noun()
}

func plural(f *Field) string {
	switch {
	case f.Type.Kind == Object:
		return "fields"
	case len(f.Enum) > 0:
		return strings.Join(f.Enum, " | ")
	case f.Reference:
		return "references to secrets"
	case f.Type.Kind == Integer || f.Type.Kind == Number:
		return "numbers"
	case f.Type.Kind == String:
		return "texts"
	default:
		return "values"
	}
}

// Facts says what else the tags tell about a field: "required; for mode table". It is ""
// if there is nothing.
func (f *Field) Facts() string {
	var out []string
	if f.Required {
		out = append(out, "required")
	}
	if f.When.Field != "" {
		out = append(out, fmt.Sprintf("only where %s", f.When))
	}
	if f.Advanced {
		out = append(out, "advanced")
	}
	return strings.Join(out, "; ")
}
