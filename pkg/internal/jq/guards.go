package jq

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/itchyny/gojq"
)

// The functions that are put into expressions.
const (
	fitsFunc       = reserved + "fits"
	addFunc        = reserved + "add"
	subtractFunc   = reserved + "subtract"
	multiplyFunc   = reserved + "multiply"
	divideFunc     = reserved + "divide"
	joinFunc       = reserved + "join"
	containsFunc   = reserved + "contains"
	indicesFunc    = reserved + "indices"
	pieceFunc      = reserved + "piece"
	atFunc         = reserved + "at"
	pathFunc       = reserved + "path"
	pathsFunc      = reserved + "paths"
	eventFunc      = reserved + "event"
	digitsFunc     = reserved + "digits"
	gridFunc       = reserved + "grid"
	briefFunc      = reserved + "brief"
	briefInputFunc = reserved + "brief_input"
	explodeFunc    = reserved + "explode"
	splitFunc      = reserved + "split"
	fromjsonFunc   = reserved + "fromjson"
)

// guards are the functions for one program.
func guards() []gojq.CompilerOption {
	counted := func(name string, size func(x, y any) int) gojq.CompilerOption {
		return metered(name, 2, func(m *meter, in any, args []any) any {
			if !m.make(size(args[0], args[1])) {
				return exceeded()
			}
			return in
		})
	}
	return append(regexps(),
		counted(addFunc, sizeOfSum), counted(multiplyFunc, sizeOfProduct), counted(joinFunc, sizeOfJoin), counted(subtractFunc, sizeOfDifference),
		counted(divideFunc, sizeOfQuotient),
		metered(containsFunc, 1, func(m *meter, in any, args []any) any {
			return passed(in, m.make(sizeOfSearch(in, args[0])))
		}),
		metered(indicesFunc, 1, func(m *meter, in any, args []any) any {
			return passed(in, m.make(sizeOfIndices(in, args[0])))
		}),
		metered(pieceFunc, 1, func(m *meter, in any, args []any) any {
			pieces, _ := args[0].(int)
			size := maxValue - rest(in, maxValue, maxDepth)
			return passed(in, m.make(size) && m.make(min(size, maxValue/pieces)*pieces/2))
		}),
		metered(atFunc, 1, at),
		simple(fitsFunc, fits),
		simple(pathFunc, isPath),
		simple(pathsFunc, func(in any) bool {
			paths, _ := in.([]any)
			for _, p := range paths {
				if !isPath(p) {
					return false
				}
			}
			return true
		}),
		simple(eventFunc, func(in any) bool {
			event, _ := in.([]any)
			return len(event) == 0 || isPath(event[0])
		}),
		simple(gridFunc, isGrid),
		gojq.WithFunction(digitsFunc, 0, 0, func(in any, _ []any) any {
			if s, ok := in.(string); ok && len(s) > maxDigits {
				return fmt.Errorf("tonumber is for texts of up to %d bytes", maxDigits)
			}
			return in
		}),
		gojq.WithFunction(briefFunc, 0, 0, brief),
		gojq.WithFunction(briefInputFunc, 0, 0, brief),
		gojq.WithFunction(explodeFunc, 0, 0, explode),
		gojq.WithFunction(splitFunc, 1, 1, split),
		gojq.WithFunction(fromjsonFunc, 0, 0, fromjson),
	)
}

// metered makes a function whose first argument is the meter of the run.
func metered(name string, arity int, f func(*meter, any, []any) any) gojq.CompilerOption {
	return gojq.WithFunction(name, arity+1, arity+1, func(in any, args []any) any {
		m, ok := args[0].(*meter)
		if !ok {
			return exceeded()
		}
		return f(m, in, args[1:])
	})
}

// simple makes a function that gives its input back where that is as it should be.
func simple(name string, good func(any) bool) gojq.CompilerOption {
	return gojq.WithFunction(name, 0, 0, func(in any, _ []any) any { return passed(in, good(in)) })
}

func passed(in any, good bool) any {
	if !good {
		return exceeded()
	}
	return in
}

// at gives an index back. What it is into grows to it when it is set.
func at(m *meter, in any, args []any) any {
	switch i := args[0].(type) {
	case []any: // where the elements of a list are in another
		return passed(i, size(i, mostSought) < mostSought)
	case nil, string, bool, map[string]any:
		return i
	default:
		n, ok := gojq.ToInt(i)
		if !ok || n < 0 {
			return i
		}
		if list, ok := in.([]any); ok || in == nil {
			if n >= maxIndex || n >= len(list) && !m.make(nodeSize*(n+1-len(list))) {
				return exceeded()
			}
		}
		return i
	}
}

// isPath reports whether setting a path makes no more than a value may be.
func isPath(in any) bool {
	path, _ := in.([]any)
	if len(path) > maxDepth {
		return false
	}
	elements := 0
	for _, step := range path {
		if list, ok := step.([]any); ok && size(list, mostSought) >= mostSought {
			return false
		}
		if n, ok := gojq.ToInt(step); ok && n > 0 {
			if elements += min(n, maxIndex); elements >= maxIndex {
				return false
			}
		}
	}
	return true
}

// isGrid reports whether lists can be transposed: all are as long as the longest
// then.
func isGrid(in any) bool {
	rows, _ := in.([]any)
	longest := 0
	for _, row := range rows {
		if list, ok := row.([]any); ok {
			longest = max(longest, len(list))
		}
	}
	return nodeSize*(len(rows)+1)*(longest+1) <= maxValue
}

// brief refuses long texts. The functions that it is for make many times as much.
func brief(in any, _ []any) any {
	if s, ok := in.(string); ok && len(s) > maxBrief {
		return fmt.Errorf("a time and its form are texts of up to %d bytes", maxBrief)
	}
	return in
}

func explode(in any, _ []any) any {
	s, ok := in.(string)
	if !ok {
		return notOf("explode", in)
	}
	n := utf8.RuneCountInString(s)
	if 2*nodeSize*(n+1) > maxValue {
		return exceeded()
	}
	runes := make([]any, 0, n)
	for _, r := range s {
		runes = append(runes, int(r))
	}
	return runes
}

func split(in any, args []any) any {
	s, ok := in.(string)
	by, ok2 := args[0].(string)
	if !ok || !ok2 {
		return notOf("split", in)
	}
	if sizeOfSplit(s, by) > maxValue {
		return exceeded()
	}
	if s == "" {
		return []any{}
	}
	parts := strings.Split(s, by)
	out := make([]any, len(parts))
	for i, part := range parts {
		out[i] = part
	}
	return out
}

func fromjson(in any, _ []any) any {
	s, ok := in.(string)
	if !ok {
		return notOf("fromjson", in)
	}
	if len(s) > MaxInput || check([]byte(s)) != nil {
		return exceeded()
	}
	value, err := Decode([]byte(s))
	if err != nil {
		return errors.New("fromjson is for one JSON document")
	}
	return value
}

func notOf(function string, in any) error {
	kind := "an unknown value"
	switch in.(type) {
	case nil, bool, string, int, float64, json.Number, []any, map[string]any:
		kind = gojq.TypeOf(in)
	}
	return fmt.Errorf("%s cannot be applied to: %s", function, kind)
}
