package jq

import (
	"encoding/json"
	"math/big"
	"strings"
	"unicode/utf8"

	"github.com/itchyny/gojq"
)

// What a value costs besides its texts, in bytes; roughly that of Go's.
const (
	nodeSize  = 16
	entrySize = 48
)

// fits reports whether a value, written out as a tree, is within maxValue and
// maxDepth.
func fits(v any) bool { return rest(v, maxValue, maxDepth) >= 0 }

// rest returns what a value leaves of a room, less than 0 if it needs more. It
// stops as soon as that is known: a value in which parts are repeated can be a
// far larger tree than the memory it takes.
func rest(v any, room, depth int) int {
	switch v := v.(type) {
	case string:
		return room - nodeSize - len(v)
	case json.Number:
		return room - nodeSize - len(v)
	case *big.Int:
		return room - nodeSize - v.BitLen()/8
	case []any:
		if room -= nodeSize * (len(v) + 1); depth == 0 {
			return -1
		}
		for i := 0; i < len(v) && room >= 0; i++ {
			room = rest(v[i], room, depth-1)
		}
		return room
	case map[string]any:
		if room -= entrySize * (len(v) + 1); depth == 0 {
			return -1
		}
		for k, e := range v {
			if room = rest(e, room-len(k), depth-1); room < 0 {
				break
			}
		}
		return room
	default:
		return room - nodeSize
	}
}

// size is the size of a value as a tree, at most a little over most.
func size(v any, most int) int { return most - rest(v, most, maxDepth) }

// flat is the size of a value without that of its parts.
func flat(v any) int {
	switch v := v.(type) {
	case string:
		return len(v)
	case *big.Int:
		return v.BitLen() / 8
	case json.Number:
		return len(v)
	case []any:
		return nodeSize * len(v)
	case map[string]any:
		return entrySize * len(v)
	default:
		return nodeSize
	}
}

// tooMuch is more than any bound.
const tooMuch = maxValue + 1

func sizeOfSum(x, y any) int {
	if isLong(x) || isLong(y) {
		return tooMuch
	}
	return flat(x) + flat(y)
}

func sizeOfProduct(x, y any) int {
	if s, ok := y.(string); ok {
		x, y = s, x
	}
	s, ok := x.(string)
	if !ok {
		// Numbers that are multiplied have the digits of both, and cost the square
		// of them in time.
		return sizeOfSum(x, y)
	}
	return times(len(s), y)
}

func isLong(v any) bool {
	switch v.(type) {
	case *big.Int, json.Number:
		return flat(v) > maxDigits
	default:
		return false
	}
}

// times returns n times a number, at most a little over maxValue.
func times(n int, number any) int {
	f, ok := gojq.ToFloat64(number)
	if !ok || f <= 0 || n == 0 {
		return 0
	}
	if f = f * float64(n); f > maxValue {
		return tooMuch
	}
	return int(f)
}

func sizeOfJoin(list, separator any) int {
	l, _ := list.([]any)
	s, _ := separator.(string)
	return times(len(s), len(l))
}

// sizeOfDifference is that of x - y: with lists, each element of one is compared
// with each of the other.
func sizeOfDifference(x, y any) int {
	l, ok := x.([]any)
	r, ok2 := y.([]any)
	if !ok || !ok2 {
		return nodeSize
	}
	return min(pairs(len(l), nodes(r)), pairs(nodes(l), len(r)))
}

// sizeOfQuotient is that of x / y: with texts, it is a split.
func sizeOfQuotient(x, y any) int {
	s, ok := x.(string)
	by, ok2 := y.(string)
	if !ok || !ok2 {
		return nodeSize
	}
	return sizeOfSplit(s, by)
}

func sizeOfSplit(s, by string) int {
	parts := utf8.RuneCountInString(s)
	if by != "" {
		parts = strings.Count(s, by) + 1
	}
	return 2*nodeSize*(parts+1) + len(s)
}

// sizeOfSearch is that of x in y or y in x: parts of one are compared with parts
// of the other.
func sizeOfSearch(x, y any) int {
	if isText(x) || isText(y) {
		return nodeSize // strings.Contains takes the time of both together
	}
	return pairs(nodes(x), nodes(y))
}

// sizeOfIndices is that of looking for y at each place in x.
func sizeOfIndices(x, y any) int {
	if s, ok := x.(string); ok {
		by, _ := y.(string) // both are made to lists first
		return pairs(len(s), len(by)) + 2*nodeSize*len(s)
	}
	return pairs(nodes(x), nodes(y))
}

func isText(v any) bool {
	_, ok := v.(string)
	return ok
}

// nodes is how many values a tree has, where long texts are several.
func nodes(v any) int { return size(v, maxValue) / nodeSize }

// pairs is what comparing each of x things with each of y counts as, in bytes; at
// most a little over maxValue.
func pairs(x, y int) int {
	if y > 0 && x > maxValue/y {
		return tooMuch
	}
	return x * y
}
