package schema

import (
	"cmp"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Check notes what the tags of a struct refuse in its value, which has its defaults. A
// field that is zero and has no default counts as not given. So does a struct in which
// nothing but defaults is set.
func (p *Problems) Check(v any) { p.CheckAt("", v) }

// CheckAt is Check of what lies at a path.
func (p *Problems) CheckAt(path string, v any) {
	value := reflect.ValueOf(v)
	if value.Kind() == reflect.Pointer {
		value = value.Elem()
	}
	p.object(path, Of(value.Type()), value)
}

func (p *Problems) object(path string, t *Type, v reflect.Value) {
	if t.Kind != Object {
		p.elements(path, &Field{Type: t}, v)
		return
	}
	for i := range t.Fields {
		f := &t.Fields[i]
		p.field(segment(path, f.Name), f, v.FieldByIndex(f.index), f.When.holds(t, v))
	}
}

// field checks one field of a struct; meant says that its condition holds.
func (p *Problems) field(path string, f *Field, v reflect.Value, meant bool) {
	given := isGiven(f, v)
	switch {
	case given && !meant && !f.isDefault(v):
		p.Add(path, "it means nothing unless %s", f.When)
	case !given && meant && f.Required:
		p.Add(path, "it is missing%s", f.oneOf())
	case given && meant:
		p.given(path, f, v)
	}
}

// isGiven reports whether a field says anything.
func isGiven(f *Field, v reflect.Value) bool {
	if f.Type.Kind != Object {
		return f.Default != "" || !v.IsZero()
	}
	if v.Kind() == reflect.Pointer {
		return !v.IsNil()
	}
	empty := reflect.New(v.Type()).Elem()
	fill(f.Type, empty)
	return !reflect.DeepEqual(v.Interface(), empty.Interface())
}

func (f *Field) isDefault(v reflect.Value) bool {
	if f.Default == "" {
		return false
	}
	standard := reflect.New(v.Type()).Elem()
	return f.setText(standard, f.Default) == nil && reflect.DeepEqual(v.Interface(), standard.Interface())
}

// oneOf says why a field is missed, and what it may be.
func (f *Field) oneOf() string {
	switch {
	case len(f.Enum) > 0:
		return "; give one of " + strings.Join(f.Enum, ", ")
	case f.When.Field != "":
		return ", and needed where " + f.When.String()
	default:
		return ""
	}
}

// given checks a value that is there.
func (p *Problems) given(path string, f *Field, v reflect.Value) {
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return
		}
		v = v.Elem()
	}
	switch f.Type.Kind {
	case Object:
		p.object(path, f.Type, v)
	case List, Map:
		if problem := f.outside(v); problem != "" {
			p.Add(path, "%s", problem)
		}
		p.elements(path, f, v)
	case Any:
	default:
		p.scalar(path, f, v)
	}
}

func (p *Problems) elements(path string, f *Field, v reflect.Value) {
	item := f.item()
	if f.Type.Kind == List {
		for i := range v.Len() {
			p.given(path+"["+strconv.Itoa(i)+"]", item, v.Index(i))
		}
		return
	}
	keys := v.MapKeys()
	slices.SortFunc(keys, func(a, b reflect.Value) int { return cmp.Compare(a.String(), b.String()) })
	for _, key := range keys {
		p.given(segment(path, key.String()), item, v.MapIndex(key))
	}
}

// reference matches what stands for a secret in a text.
var reference = regexp.MustCompile(referencePattern)

// begun matches what was meant to be one.
var begun = regexp.MustCompile(`(?i)\$\{\s*(env|file)\b`)

// BrokenReference reports whether a text has something that was meant to stand for a secret
// and does not: it would be taken for the secret itself.
func BrokenReference(text string) bool {
	return begun.MatchString(reference.ReplaceAllString(text, ""))
}

// BrokenReferenceText says what is wrong with it, and not what it is.
const BrokenReferenceText = "it begins a reference to a secret that is none: write ${env:NAME} or ${file:/path}"

const referencePattern = `\$\{(env|file):[^}]+\}`

func (p *Problems) scalar(path string, f *Field, v reflect.Value) {
	switch value := text(v); {
	case f.Reference && !reference.MatchString(value):
		// The value is not repeated: it may be the secret.
		p.Add(path, "it must refer to a secret, as ${env:NAME} or ${file:/path}")
	case f.Secret() && BrokenReference(value):
		p.Add(path, BrokenReferenceText)
	case len(f.Enum) > 0 && !slices.Contains(f.Enum, value):
		p.Add(path, "%s", noneOf(f.shown(value), value, f.Enum))
	default:
		if problem := f.outside(v); problem != "" {
			p.Add(path, "%s", problem)
		}
	}
}

// outside says that a value is beyond the limits of its field, "" if it is not.
func (f *Field) outside(v reflect.Value) string {
	if f.Min == "" && f.Max == "" {
		return ""
	}
	low, high := f.limit(f.Min, v.Type()), f.limit(f.Max, v.Type())
	size, unit := v, ""
	switch f.Type.Kind {
	case List, Map:
		size, unit = reflect.ValueOf(v.Len()), " entries"
	case String:
		if v.Kind() == reflect.String {
			size, unit = reflect.ValueOf(v.Len()), " bytes"
		}
	}
	below := low.IsValid() && compare(size, low) < 0
	above := high.IsValid() && compare(size, high) > 0
	switch shown := text(size) + unit; {
	case !below && !above:
		return ""
	case low.IsValid() && high.IsValid() && unit == "":
		return fmt.Sprintf("%s is outside %s..%s", shown, f.Min, f.Max)
	case below:
		return fmt.Sprintf("%s is less than %s", shown, f.Min)
	default:
		return fmt.Sprintf("%s is more than %s", shown, f.Max)
	}
}

// limit returns a limit as a value to compare with: of the field's type if that is a
// number, else a length.
func (f *Field) limit(limit string, t reflect.Type) reflect.Value {
	if limit == "" {
		return reflect.Value{}
	}
	if f.Type.Kind == List || f.Type.Kind == Map || t.Kind() == reflect.String {
		t = reflect.TypeFor[int]()
	}
	v := reflect.New(t).Elem()
	if err := set(v, limit); err != nil {
		panic("schema: a limit of " + f.Name + ": " + err.Error())
	}
	return v
}

// compare orders two numbers of one type. What is no number comes before all.
func compare(a, b reflect.Value) int {
	switch {
	case a.CanInt():
		return cmp.Compare(a.Int(), b.Int())
	case a.CanUint():
		return cmp.Compare(a.Uint(), b.Uint())
	default:
		return cmp.Compare(a.Float(), b.Float())
	}
}
