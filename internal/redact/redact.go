// Package redact hides fields of payloads from people, by the paths that a channel's
// configuration lists.
package redact

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// Hidden stands where a value is hidden.
const Hidden = "(hidden)"

// Whole is the path that is told as hidden where nothing of a payload can be shown.
const Whole = "."

const (
	maxPath  = 512
	maxDepth = 32
)

// namePattern is what need not be quoted in a path.
var namePattern = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_-]*`)

// ErrPath says that a text is no path.
var ErrPath = errors.New("it is no path such as .ssn, .person.ssn or .\"a name with dots\"")

// Check returns ErrPath for what is no path. A path is a dot and a name, or several of
// them. Arrays are gone through: .people.ssn is the field ssn of each element of people,
// as .people[].ssn is.
func Check(path string) error {
	_, err := parse(path)
	return err
}

// Apply returns a JSON payload with the values at the paths replaced by Hidden, and which
// paths of fields were there. Numbers, the order of fields and those that are there twice
// stay. Without paths the payload is returned as it is. It returns nil, and Whole as
// hidden, where something may have to be hidden and it cannot tell what: the payload is
// not JSON, or a path is none.
func Apply(payload []byte, paths []string) (out json.RawMessage, hidden []string) {
	if len(paths) == 0 {
		return payload, nil
	}
	rules, err := parseAll(paths)
	if err != nil || !json.Valid(payload) { // Valid also bounds the depth
		return nil, []string{Whole}
	}
	w := writer{dec: json.NewDecoder(bytes.NewReader(payload)), found: make([]bool, len(rules))}
	w.dec.UseNumber()
	if err := w.value(rules); err != nil {
		return nil, []string{Whole}
	}
	for i, found := range w.found {
		if found {
			hidden = append(hidden, paths[i])
		}
	}
	return w.out.Bytes(), hidden
}

// A rule is what is left of a path on the way down.
type rule struct {
	index int // of the path
	names []string
}

func parseAll(paths []string) ([]rule, error) {
	rules := make([]rule, len(paths))
	for i, path := range paths {
		names, err := parse(path)
		if err != nil {
			return nil, err
		}
		rules[i] = rule{i, names}
	}
	return rules, nil
}

// parse returns the names of a path, without its steps into arrays.
func parse(path string) (names []string, err error) {
	if len(path) > maxPath {
		return nil, fmt.Errorf("%w: it is longer than %d bytes", ErrPath, maxPath)
	}
	for rest := path; rest != "" || len(names) == 0; {
		if len(names) == maxDepth {
			return nil, fmt.Errorf("%w: it has more than %d names", ErrPath, maxDepth)
		}
		after, ok := strings.CutPrefix(rest, ".")
		if !ok {
			return nil, ErrPath
		}
		var name string
		if name, rest, err = cutName(after); err != nil {
			return nil, err
		}
		names = append(names, name)
		for strings.HasPrefix(rest, "[") {
			inside, behind, closed := strings.Cut(rest[1:], "]")
			if !closed || strings.Trim(inside, "0123456789") != "" {
				return nil, ErrPath
			}
			rest = behind
		}
	}
	return names, nil
}

func cutName(text string) (name, rest string, err error) {
	if !strings.HasPrefix(text, `"`) {
		if name = namePattern.FindString(text); name == "" {
			return "", "", ErrPath
		}
		return name, text[len(name):], nil
	}
	quoted, err := strconv.QuotedPrefix(text)
	if err != nil || json.Unmarshal([]byte(quoted), &name) != nil {
		return "", "", ErrPath
	}
	return name, text[len(quoted):], nil
}

// A writer copies a document that is valid.
type writer struct {
	dec   *json.Decoder
	out   bytes.Buffer
	found []bool
}

func (w *writer) value(rules []rule) error {
	token, err := w.dec.Token()
	if err != nil {
		return err
	}
	delim, ok := token.(json.Delim)
	if !ok {
		return w.scalar(token)
	}
	w.out.WriteRune(rune(delim))
	for i := 0; w.dec.More(); i++ {
		if i > 0 {
			w.out.WriteByte(',')
		}
		if delim == '[' {
			err = w.value(rules)
		} else {
			err = w.member(rules)
		}
		if err != nil {
			return err
		}
	}
	if token, err = w.dec.Token(); err != nil {
		return err
	}
	_, _ = fmt.Fprint(&w.out, token) // into memory
	return nil
}

func (w *writer) member(rules []rule) error {
	token, err := w.dec.Token()
	if err != nil {
		return err
	}
	name, _ := token.(string) // it is valid JSON
	if err := w.scalar(name); err != nil {
		return err
	}
	w.out.WriteByte(':')
	var below []rule
	hide := false
	for _, r := range rules {
		switch {
		case r.names[0] != name:
		case len(r.names) == 1:
			hide, w.found[r.index] = true, true
		default:
			below = append(below, rule{r.index, r.names[1:]})
		}
	}
	if !hide {
		return w.value(below)
	}
	var skipped json.RawMessage
	if err := w.dec.Decode(&skipped); err != nil {
		return err
	}
	return w.scalar(Hidden)
}

func (w *writer) scalar(v any) error {
	enc := json.NewEncoder(&w.out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return err
	}
	w.out.Truncate(w.out.Len() - 1) // the line feed
	return nil
}
