package schema

import (
	"fmt"
	"reflect"
	"strings"
)

// Lint returns what the tags of a type lack or contradict, for a test of whoever has the
// type: each field must have a text that is a sentence, an example if nothing else shows
// how it is written, and defaults and examples that are good values.
func (t *Type) Lint() []string {
	var out []string
	for _, line := range t.Lines() {
		bad := func(format string, args ...any) { out = append(out, line.Path+": "+fmt.Sprintf(format, args...)) }
		f := line.Field
		switch {
		case len(f.Doc) < 20 || !strings.HasSuffix(f.Doc, "."):
			bad("its doc is no sentence: %q", f.Doc)
		case strings.Contains(f.Doc, "  ") || strings.Contains(f.Doc, "\n"):
			bad("its doc has more space than it needs")
		}
		if f.needsExample() {
			bad("it has neither an example nor a default")
		}
		if line.Group == "" {
			bad("it is in no group")
		}
		if f.Type.Kind == Boolean && f.Default != "" && !f.pointer {
			bad("a default of a bool must be that of a pointer, as false is no different from nothing")
		}
		for what, value := range map[string]string{"default": f.Default, "example": f.Example} {
			if problem := f.good(value); problem != "" {
				bad("its %s %q is not good: %s", what, value, problem)
			}
		}
	}
	return out
}

func (f *Field) needsExample() bool {
	return f.Default == "" && f.Example == "" && len(f.Enum) == 0 && f.Type.Kind != Boolean && f.scalar().Kind != Object
}

// good says what is wrong with the text of a value, "" if it is none or good.
func (f *Field) good(value string) string {
	if value == "" {
		return ""
	}
	v := reflect.New(f.Type.goType).Elem()
	if err := f.setText(v, value); err != nil {
		return err.Error()
	}
	fill(f.Type, v)
	var p Problems
	p.given(f.Name, f, v)
	if err := p.Err(); err != nil {
		return err.Error()
	}
	return ""
}
