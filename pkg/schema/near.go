package schema

import (
	"strings"
)

// Near returns the name that somebody probably meant, "" if none is like it.
func Near(name string, names []string) string {
	if len(name) > mostName {
		return ""
	}
	best, least := "", min(len(name), max(1, len(name)/3)+1)
	for _, candidate := range names {
		if d := distance(strings.ToLower(name), strings.ToLower(candidate)); d < least {
			best, least = candidate, d
		}
	}
	if best == "" {
		for _, candidate := range names { // max_tries for max_attempts shares a word, timeout_s is a longer timeout
			if len(name) > 3 && len(candidate) > 3 && (strings.HasPrefix(name, candidate) || strings.HasPrefix(candidate, name)) {
				return candidate
			}
		}
	}
	return best
}

// distance returns how many characters must be added, left out, changed, or swapped with
// the next one, to make one text of another.
func distance(a, b string) int {
	x, y := []rune(a), []rune(b)
	before, last, row := make([]int, len(y)+1), make([]int, len(y)+1), make([]int, len(y)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(x); i++ {
		row[0] = i
		for j := 1; j <= len(y); j++ {
			change := 1
			if x[i-1] == y[j-1] {
				change = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+change)
			if i > 1 && j > 1 && x[i-1] == y[j-2] && x[i-2] == y[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(y)]
}

// NoneOf says that a value is none of those that are allowed, and which was probably meant.
func NoneOf(value string, allowed []string) string {
	return noneOf(quoted(value), value, allowed)
}

func noneOf(shown, value string, allowed []string) string {
	return shown + " is none of " + strings.Join(allowed, ", ") + meant(value, allowed)
}

// noField says that there is no field of a name.
func noField(name string, names []string) string {
	if hint := meant(name, names); hint != "" {
		return "there is no such field" + hint
	}
	if len(names) == 0 {
		return "there is no such field, as there are none here"
	}
	return "there is no such field; there are " + strings.Join(names, ", ")
}

func meant(name string, names []string) string {
	if near := Near(name, names); near != "" {
		return "; did you mean " + near + "?"
	}
	return ""
}
