package jq

import (
	"reflect"
	"strconv"

	"github.com/itchyny/gojq"
)

// gojq bounds neither steps nor sizes. Steps are counted by the meter. What one
// step may do is bounded by functions that are put into the expression: before
// operators and functions whose cost is not that of what they are given, in
// place of those that are better written anew, and behind all that makes values.
// So each value that an expression meets is within maxValue, or a part of the
// input.

// Names that are put into expressions, and so cannot be in one before.
const (
	reserved      = "__"
	meterVariable = "$" + reserved + "meter"
	left, right   = "$" + reserved + "left", "$" + reserved + "right"
	index         = "$" + reserved + "index"
	cuts, others  = "$" + reserved + "cuts", "$" + reserved + "others"
)

// bound puts the guards into an expression.
func bound(q *gojq.Query) error {
	b := &bounder{own: map[*gojq.Func]bool{}}
	b.resolve(reflect.ValueOf(q), nil)
	if b.err == nil {
		b.guard(reflect.ValueOf(q))
	}
	return b.err
}

type bounder struct {
	own map[*gojq.Func]bool // calls of functions that the expression defines
	err error
}

// guard works from the leaves up, so that it never meets what it has made.
func (b *bounder) guard(v reflect.Value) {
	each(v, b.guard)
	if v.Kind() != reflect.Pointer || v.IsNil() {
		return
	}
	switch node := v.Interface().(type) {
	case *gojq.Query:
		guardQuery(node)
	case *gojq.Term:
		b.guardTerm(node)
	case *gojq.String:
		guardString(node)
	case *gojq.Index:
		if grows(node) { // of what the query around it is asked about
			node.Start = bind(node.Start, index, call(atFunc, call(meterVariable), call(index)))
		}
	}
}

func guardQuery(q *gojq.Query) {
	switch q.Op {
	case gojq.OpAdd:
		if !isNumber(q.Left) && !isNumber(q.Right) {
			*q = *binary(q, addFunc)
		}
	case gojq.OpMul:
		*q = *binary(q, multiplyFunc)
	case gojq.OpSub, gojq.OpDiv:
		if !isNumber(q.Right) {
			*q = *binary(q, pairFunc(q.Op))
		}
	case gojq.OpUpdateAdd:
		*q = *update(q, gojq.OpAdd, addFunc)
	case gojq.OpUpdateMul:
		*q = *update(q, gojq.OpMul, multiplyFunc)
	case gojq.OpUpdateSub:
		*q = *update(q, gojq.OpSub, subtractFunc)
	case gojq.OpUpdateDiv:
		*q = *update(q, gojq.OpDiv, divideFunc)
	case gojq.OpModify:
		// What is changed can be made of what was put there just before.
		q.Right = pipe(call(fitsFunc), q.Right)
		*q = *checked(q)
	case gojq.OpAssign, gojq.OpUpdateMod, gojq.OpUpdateAlt:
		*q = *checked(q)
	}
}

func pairFunc(op gojq.Operator) string {
	if op == gojq.OpSub {
		return subtractFunc
	}
	return divideFunc
}

// isNumber reports whether a query is a number as it is written: adding it,
// subtracting it or dividing by it makes nothing large.
func isNumber(q *gojq.Query) bool {
	return q.Term != nil && q.Term.Type == gojq.TermTypeNumber && len(q.Term.SuffixList) == 0 && len(q.FuncDefs) == 0
}

// checked returns `q | fits`.
func checked(q *gojq.Query) *gojq.Query {
	whole := *q
	whole.FuncDefs = nil
	return &gojq.Query{Meta: q.Meta, FuncDefs: q.FuncDefs, Op: gojq.OpPipe, Left: &whole, Right: call(fitsFunc)}
}

// binary returns `r as $right | l as $left | guard | $left op $right`: the same
// values in the same order as `l op r`.
func binary(q *gojq.Query, guard string) *gojq.Query {
	op := &gojq.Query{Op: q.Op, Left: call(left), Right: call(right)}
	guarded := pipe(call(guard, call(meterVariable), call(left), call(right)), op)
	out := bind(q.Right, right, bind(q.Left, left, guarded))
	out.Meta, out.FuncDefs = q.Meta, q.FuncDefs
	return out
}

// update returns `r as $right | l |= (guard | . op $right)`, which is what
// `l op= r` means.
func update(q *gojq.Query, op gojq.Operator, guard string) *gojq.Query {
	change := pipe(call(guard, call(meterVariable), identity(), call(right)), &gojq.Query{Op: op, Left: identity(), Right: call(right)})
	modify := &gojq.Query{Op: gojq.OpModify, Left: q.Left, Right: change}
	out := bind(q.Right, right, pipe(modify, call(fitsFunc)))
	out.Meta, out.FuncDefs = q.Meta, q.FuncDefs
	return out
}

func identity() *gojq.Query { return &gojq.Query{Term: &gojq.Term{Type: gojq.TermTypeIdentity}} }

func pipe(l, r *gojq.Query) *gojq.Query { return &gojq.Query{Op: gojq.OpPipe, Left: l, Right: r} }

func bind(value *gojq.Query, name string, body *gojq.Query) *gojq.Query {
	return &gojq.Query{Op: gojq.OpPipe, Left: value, Patterns: []*gojq.Pattern{{Name: name}}, Right: body}
}

func call(name string, args ...*gojq.Query) *gojq.Query {
	return &gojq.Query{Term: &gojq.Term{Type: gojq.TermTypeFunc, Func: &gojq.Func{Name: name, Args: args}}}
}

func number(n int) *gojq.Query {
	return &gojq.Query{Term: &gojq.Term{Type: gojq.TermTypeNumber, Number: strconv.Itoa(n)}}
}

// every returns `q[]`.
func every(q *gojq.Query) *gojq.Query {
	return &gojq.Query{Term: &gojq.Term{Type: gojq.TermTypeQuery, Query: q, SuffixList: []*gojq.Suffix{{Iter: true}}}}
}

// list returns `[q]`.
func list(q *gojq.Query) *gojq.Query {
	return &gojq.Query{Term: &gojq.Term{Type: gojq.TermTypeArray, Array: &gojq.Array{Query: q}}}
}

func (b *bounder) guardTerm(t *gojq.Term) {
	inner := *t
	inner.SuffixList = nil
	body := &gojq.Query{Term: &inner}
	switch t.Type {
	case gojq.TermTypeArray, gojq.TermTypeObject, gojq.TermTypeFormat:
		body = pipe(body, call(fitsFunc))
	case gojq.TermTypeString:
		if t.Str != nil && len(t.Str.Queries) > 0 {
			body = pipe(body, call(fitsFunc))
		}
	case gojq.TermTypeFunc:
		if !b.own[t.Func] {
			body = guardCall(body, t.Func)
		}
	}
	if body.Term != &inner {
		*t = gojq.Term{Type: gojq.TermTypeQuery, SuffixList: t.SuffixList, Query: body}
	}
	guardSuffixes(t)
}

// guardSuffixes makes `T[X]` to `X as $index | T | .[at($index)]`, so that what an
// index is into can be asked.
func guardSuffixes(t *gojq.Term) {
	for i := 0; i < len(t.SuffixList); i++ {
		at := t.SuffixList[i].Index
		if at == nil || at.Start == nil || at.IsSlice {
			continue
		}
		asked, guarded := unguarded(at.Start)
		if !guarded {
			continue
		}
		base, rest := *t, t.SuffixList[i+1:]
		base.SuffixList = t.SuffixList[:i:i]
		inner := []*gojq.Suffix{{Index: &gojq.Index{Start: call(atFunc, call(meterVariable), call(index))}}}
		if len(rest) > 0 && rest[0].Optional { // of this index only
			inner, rest = append(inner, rest[0]), rest[1:]
		}
		into := &gojq.Query{Term: &gojq.Term{Type: gojq.TermTypeIdentity, SuffixList: inner}}
		*t = gojq.Term{
			Type: gojq.TermTypeQuery, SuffixList: rest,
			Query: bind(asked, index, pipe(&gojq.Query{Term: &base}, into)),
		}
		i = -1
	}
}

// unguarded returns the index that guard has put into `X as $index | at($index)`,
// if it has.
func unguarded(q *gojq.Query) (*gojq.Query, bool) {
	if len(q.Patterns) != 1 || q.Patterns[0].Name != index {
		return nil, false
	}
	return q.Left, true
}

// grows reports whether setting what an index is about can make far more than
// one element: all those before it are made, too.
func grows(i *gojq.Index) bool {
	switch {
	case i.Start == nil || i.IsSlice:
		return false
	case isNumber(i.Start):
		return len(i.Start.Term.Number) > shortIndex
	default:
		t := i.Start.Term
		return t == nil || len(i.Start.FuncDefs) > 0 || len(t.SuffixList) > 0 || t.Type != gojq.TermTypeString || len(t.Str.Queries) > 0
	}
}

// shortIndex is the length up to which an index, as it is written, is surely
// small: ".[0]" need not be looked at each time.
const shortIndex = 2

// freePieces is how many values may be put into a text without being counted.
const freePieces = 2

// guardString looks at the values that are put into a text: it is made by adding
// one piece after the other.
func guardString(s *gojq.String) {
	pieces := 0
	for _, q := range s.Queries {
		if q.Term.Str == nil {
			pieces++
		}
	}
	if pieces <= freePieces {
		return
	}
	for _, q := range s.Queries {
		if q.Term.Str == nil {
			whole := *q
			*q = gojq.Query{Term: &gojq.Term{
				Type: gojq.TermTypeQuery, Query: pipe(&whole, call(pieceFunc, call(meterVariable), number(len(s.Queries)))),
			}}
		}
	}
}
