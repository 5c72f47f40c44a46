package jq

import (
	"fmt"
	"reflect"
	"strings"

	"github.com/itchyny/gojq"
)

// functions are those that an expression defines and that can be seen at a place
// in it, the last one first. nil are none.
type functions struct {
	signature string // as in "name/2"
	before    *functions
}

func (f *functions) with(signature string) *functions { return &functions{signature, f} }

func (f *functions) has(signature string) bool {
	for ; f != nil; f = f.before {
		if f.signature == signature {
			return true
		}
	}
	return false
}

func signature(name string, args int) string { return fmt.Sprintf("%s/%d", name, args) }

// resolve finds the calls of functions that the expression defines, and refuses
// what it may not use: modules, names that are the guards' own, functions that
// are not known to be bounded, and numbers that cost more than others.
func (b *bounder) resolve(v reflect.Value, seen *functions) {
	switch node := v.Interface().(type) {
	case gojq.Query:
		b.resolveQuery(&node, seen)
		return
	case *gojq.Func:
		if node != nil {
			b.resolveCall(node, seen)
		}
	case gojq.Pattern:
		b.checkName(node.Name)
	case gojq.PatternObject:
		b.checkName(node.Key)
	case gojq.Import:
		b.refuse("modules cannot be used")
	case gojq.Term:
		if len(node.Number) > maxDigits {
			b.refuse("a number has more than %d digits", maxDigits)
		}
	}
	each(v, func(part reflect.Value) { b.resolve(part, seen) })
}

// resolveQuery follows the scope of definitions: each is seen by itself, by the
// ones after it and by the query.
func (b *bounder) resolveQuery(q *gojq.Query, seen *functions) {
	for _, def := range q.FuncDefs {
		b.checkName(def.Name)
		seen = seen.with(signature(def.Name, len(def.Args)))
		inside := seen
		for _, arg := range def.Args {
			b.checkName(arg)
			inside = inside.with(signature(strings.TrimPrefix(arg, "$"), 0))
		}
		b.resolve(reflect.ValueOf(def.Body), inside)
	}
	rest := *q
	rest.FuncDefs = nil
	each(reflect.ValueOf(rest), func(part reflect.Value) { b.resolve(part, seen) })
}

func (b *bounder) resolveCall(f *gojq.Func, seen *functions) {
	b.checkName(f.Name)
	name := signature(f.Name, len(f.Args))
	switch {
	case strings.HasPrefix(f.Name, "$"):
	case seen.has(name):
		b.own[f] = true
	case !known()[name]:
		b.refuse("function not defined, or not allowed here: %s", name)
	}
}

func (b *bounder) checkName(name string) {
	if bare := strings.TrimPrefix(name, "$"); strings.HasPrefix(bare, reserved) && bare != "__loc__" {
		b.refuse("%s: names must not begin with %s", name, reserved)
	}
}

func (b *bounder) refuse(format string, args ...any) {
	if b.err == nil {
		b.err = fmt.Errorf(format, args...)
	}
}

// each calls f for all that a node of the syntax tree is made of.
func each(v reflect.Value, f func(reflect.Value)) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			f(v.Elem())
		}
	case reflect.Struct:
		for i := range v.NumField() {
			f(v.Field(i))
		}
	case reflect.Slice:
		for i := range v.Len() {
			f(v.Index(i))
		}
	}
}
