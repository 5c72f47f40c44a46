package jq

import (
	"encoding/json"
	"math/big"

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

func sizeOfSum(x, y any) int {
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
		if isLong(x) && isLong(y) {
			return maxValue + 1
		}
		return flat(x) + flat(y)
	}
	return times(len(s), y)
}

func isLong(v any) bool {
	switch v.(type) {
	case *big.Int, json.Number:
		return flat(v) > maxMatch
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
		return maxValue + 1
	}
	return int(f)
}

func sizeOfJoin(list, separator any) int {
	l, _ := list.([]any)
	s, _ := separator.(string)
	return times(len(s), len(l))
}
