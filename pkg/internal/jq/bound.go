package jq

import (
	"context"
	"fmt"
	"reflect"
	"strings"

	"github.com/itchyny/gojq"
)

// gojq bounds neither steps nor sizes. It asks its context before every step
// whether to go on, which is where steps are counted. Sizes are looked at by
// functions that are put into the expression: before + and *, which can double
// what there is, and behind everything else that makes values.

// meter is the context of one run, which also counts.
type meter struct {
	context.Context //nolint:containedctx // it is one

	steps int
	made  int
}

// Done is called by gojq before each step.
func (m *meter) Done() <-chan struct{} {
	if m.steps++; m.steps > maxSteps {
		over := make(chan struct{})
		close(over)
		return over
	}
	return m.Context.Done()
}

// Err is what gojq gives when Done says that the run is over.
func (m *meter) Err() error {
	if m.steps > maxSteps {
		return fmt.Errorf("%w: it takes more than %d steps", ErrBounds, maxSteps)
	}
	return m.Context.Err()
}

// Names that are put into expressions, and so cannot be in one before.
const (
	reserved      = "__"
	meterVariable = "$" + reserved + "meter"
	left, right   = "$" + reserved + "left", "$" + reserved + "right"
	fitsFunc      = reserved + "fits"
	addFunc       = reserved + "add"
	multiplyFunc  = reserved + "multiply"
	joinFunc      = reserved + "join"
	shortFunc     = reserved + "short"
	indexFunc     = reserved + "index"
)

// guards are the functions that bound puts into expressions. All of them give
// their input back, or an error.
func guards() []gojq.CompilerOption {
	grow := func(size func(x, y any) int) func(any, []any) any {
		return func(in any, args []any) any {
			m, ok := args[0].(*meter)
			if !ok {
				return fmt.Errorf("%w: it has no meter", ErrBounds)
			}
			n := size(args[1], args[2])
			if m.made += n; n > maxValue || m.made > maxMade {
				return fmt.Errorf("%w: it makes a value larger than %d bytes, or more than %d bytes of them", ErrBounds, maxValue, maxMade)
			}
			return in
		}
	}
	return []gojq.CompilerOption{
		gojq.WithFunction(addFunc, 3, 3, grow(sizeOfSum)),
		gojq.WithFunction(multiplyFunc, 3, 3, grow(sizeOfProduct)),
		gojq.WithFunction(joinFunc, 3, 3, grow(sizeOfJoin)),
		gojq.WithFunction(fitsFunc, 0, 0, func(in any, _ []any) any {
			if !fits(in) {
				return fmt.Errorf("%w: a value is larger than %d bytes", ErrBounds, maxValue)
			}
			return in
		}),
		gojq.WithFunction(shortFunc, 0, 0, func(in any, _ []any) any {
			if s, ok := in.(string); ok && len(s) > maxMatch {
				return fmt.Errorf("%w: a regular expression looks at a text larger than %d bytes", ErrBounds, maxMatch)
			}
			return in
		}),
		gojq.WithFunction(indexFunc, 0, 0, func(in any, _ []any) any {
			path, ok := in.([]any)
			if !ok {
				path = []any{in}
			}
			for _, i := range path {
				if n, ok := gojq.ToFloat64(i); ok && n > maxIndex {
					return fmt.Errorf("%w: an index is larger than %d", ErrBounds, maxIndex)
				}
			}
			return in
		}),
	}
}

// bound puts the guards into an expression.
func bound(q *gojq.Query) error {
	b := &bounder{own: map[string]bool{}}
	b.names(reflect.ValueOf(q))
	if b.err == nil {
		b.guard(reflect.ValueOf(q))
	}
	return b.err
}

type bounder struct {
	own map[string]bool // functions that the expression defines
	err error
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

// names finds the functions that the expression defines, and refuses names that
// are the guards' own, and modules.
func (b *bounder) names(v reflect.Value) {
	check := func(name string) {
		if bare := strings.TrimPrefix(name, "$"); strings.HasPrefix(bare, reserved) && bare != "__loc__" {
			b.err = fmt.Errorf("%s: names must not begin with %s", name, reserved)
		}
	}
	switch node := v.Interface().(type) {
	case gojq.Func:
		check(node.Name)
	case gojq.Pattern:
		check(node.Name)
	case gojq.PatternObject:
		check(node.Key)
	case gojq.Import:
		b.err = fmt.Errorf("modules cannot be used")
	case gojq.FuncDef:
		b.own[node.Name] = true
		check(node.Name)
		for _, arg := range node.Args {
			b.own[arg] = true
			check(arg)
		}
	}
	each(v, b.names)
}

// guard works from the leaves up, so that it never meets what it has made.
func (b *bounder) guard(v reflect.Value) {
	each(v, b.guard)
	if v.Kind() != reflect.Pointer || v.IsNil() {
		return
	}
	switch node := v.Interface().(type) {
	case *gojq.Query:
		b.guardQuery(node)
	case *gojq.Term:
		b.guardTerm(node)
	case *gojq.Index:
		// Setting one element makes all those before it.
		if node.Start != nil && len(node.Start.String()) > shortIndex {
			node.Start = &gojq.Query{Op: gojq.OpPipe, Left: node.Start, Right: call(indexFunc)}
		}
	}
}

func (b *bounder) guardQuery(q *gojq.Query) {
	switch q.Op {
	case gojq.OpAdd:
		*q = *binary(q, addFunc)
	case gojq.OpMul:
		*q = *binary(q, multiplyFunc)
	case gojq.OpUpdateAdd:
		*q = *update(q, gojq.OpAdd, addFunc)
	case gojq.OpUpdateMul:
		*q = *update(q, gojq.OpMul, multiplyFunc)
	case gojq.OpAssign, gojq.OpModify, gojq.OpUpdateSub, gojq.OpUpdateDiv, gojq.OpUpdateMod, gojq.OpUpdateAlt:
		whole := *q
		whole.FuncDefs = nil
		*q = gojq.Query{Meta: q.Meta, FuncDefs: q.FuncDefs, Op: gojq.OpPipe, Left: &whole, Right: call(fitsFunc)}
	}
}

// binary returns `r as $right | l as $left | guard | $left op $right`: the same
// values in the same order as `l op r`.
func binary(q *gojq.Query, guard string) *gojq.Query {
	op := &gojq.Query{Op: q.Op, Left: call(left), Right: call(right)}
	guarded := &gojq.Query{Op: gojq.OpPipe, Left: call(guard, call(meterVariable), call(left), call(right)), Right: op}
	out := bind(q.Right, right, bind(q.Left, left, guarded))
	out.Meta, out.FuncDefs = q.Meta, q.FuncDefs
	return out
}

// update returns `r as $right | l |= (guard | . op $right)`, which is what
// `l op= r` means.
func update(q *gojq.Query, op gojq.Operator, guard string) *gojq.Query {
	identity := func() *gojq.Query { return &gojq.Query{Term: &gojq.Term{Type: gojq.TermTypeIdentity}} }
	change := &gojq.Query{
		Op:    gojq.OpPipe,
		Left:  call(guard, call(meterVariable), identity(), call(right)),
		Right: &gojq.Query{Op: op, Left: identity(), Right: call(right)},
	}
	modify := &gojq.Query{Op: gojq.OpModify, Left: q.Left, Right: change}
	out := bind(q.Right, right, &gojq.Query{Op: gojq.OpPipe, Left: modify, Right: call(fitsFunc)})
	out.Meta, out.FuncDefs = q.Meta, q.FuncDefs
	return out
}

func bind(value *gojq.Query, name string, body *gojq.Query) *gojq.Query {
	return &gojq.Query{Op: gojq.OpPipe, Left: value, Patterns: []*gojq.Pattern{{Name: name}}, Right: body}
}

func call(name string, args ...*gojq.Query) *gojq.Query {
	return &gojq.Query{Term: &gojq.Term{Type: gojq.TermTypeFunc, Func: &gojq.Func{Name: name, Args: args}}}
}

func (b *bounder) guardTerm(t *gojq.Term) {
	inner := *t
	inner.SuffixList = nil
	body := &gojq.Query{Term: &inner}
	switch t.Type {
	case gojq.TermTypeArray, gojq.TermTypeObject, gojq.TermTypeFormat:
	case gojq.TermTypeString:
		if t.Str == nil || len(t.Str.Queries) == 0 {
			return
		}
	case gojq.TermTypeFunc:
		name := t.Func.Name
		switch {
		case strings.HasPrefix(name, "$") || b.own[name] || name == "empty" || name == "error":
			return
		case name == "join" && len(t.Func.Args) == 1:
			identity := &gojq.Query{Term: &gojq.Term{Type: gojq.TermTypeIdentity}}
			body = bind(t.Func.Args[0], right, &gojq.Query{
				Op: gojq.OpPipe, Left: call(joinFunc, call(meterVariable), identity, call(right)), Right: call("join", call(right)),
			})
		case name == "setpath" && len(t.Func.Args) == 2:
			inner.Func = &gojq.Func{Name: name, Args: []*gojq.Query{
				{Op: gojq.OpPipe, Left: t.Func.Args[0], Right: call(indexFunc)}, t.Func.Args[1],
			}}
		case usesRegexp(name, len(t.Func.Args)):
			body = &gojq.Query{Op: gojq.OpPipe, Left: call(shortFunc), Right: body}
		}
	default:
		return
	}
	*t = gojq.Term{
		Type: gojq.TermTypeQuery, SuffixList: t.SuffixList,
		Query: &gojq.Query{Op: gojq.OpPipe, Left: body, Right: call(fitsFunc)},
	}
}

// shortIndex is the length up to which an index, as it is written, is surely
// small: ".[0]" need not be looked at each time.
const shortIndex = 1

func usesRegexp(name string, args int) bool {
	switch name {
	case "match", "test", "capture", "scan", "splits", "sub", "gsub":
		return true
	default:
		return name == "split" && args == 2
	}
}
