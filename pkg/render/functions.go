package render

import (
	"encoding/json"
	"strconv"
	"strings"
	"text/template"

	"github.com/hms-utl/extsync/pkg/internal/jq"
)

// finished is a text that is not escaped any more. It is no string, or a template could cut
// a part out of it that is not escaped.
type finished struct{ text string }

// String returns the text. What a template gets by it is a text like any other.
func (f finished) String() string { return f.text }

// What templates call and nobody writes.
const (
	printFunction     = "__print"
	attributeFunction = "__attribute"
)

// builtins are those of text/template that are bounded by what they are given.
func builtins() []string { return []string{"and", "or", "not", "len", "index", "slice"} }

// escapers are the functions that escape for a format.
func escapers() map[string]escaper {
	return map[string]escaper{"json": jsonText, "xml": xmlText, "csv": csvField, "ics": icsText, "form": formText}
}

// functions are those that a template may call besides builtins.
func (w *run) functions() template.FuncMap {
	own := w.format.function
	as := func(function, text string) any {
		if function == own {
			return finished{text}
		}
		return text
	}
	m := template.FuncMap{
		printFunction: func(v any) (finished, error) {
			text, err := w.escaped(w.format.escape, v)
			return finished{text}, err
		},
		attributeFunction: func(i int) any { return w.values[i] },
		"raw": func(v any) (finished, error) {
			text, err := w.escaped(plainText, v)
			return finished{text}, err
		},
		"row": func(values ...any) (any, error) {
			text, err := w.record(values)
			return as("csv", text), err
		},
		"eq": func(v, other any, others ...any) (bool, error) { return w.equal(v, append([]any{other}, others...)) },
		"ne": func(v, other any) (bool, error) {
			same, err := w.equal(v, []any{other})
			return !same, err
		},
	}
	for name, escape := range escapers() {
		m[name] = func(v any) (any, error) {
			if done, ok := v.(finished); ok && name != own {
				v = done.text // of another format
			}
			text, err := w.escaped(escape, v)
			return as(name, text), err
		}
	}
	return m
}

// escaped returns a value as a text of a format. What is finished stays as it is.
func (w *run) escaped(escape escaper, v any) (string, error) {
	if done, ok := v.(finished); ok {
		return done.text, nil
	}
	text, err := escape(v)
	if err == nil {
		err = w.budget.Make(len(text))
	}
	if err != nil {
		return "", &callError{err}
	}
	return text, nil
}

// equal compares texts, numbers and booleans by their text: two numbers are equal if they
// are written alike.
func (w *run) equal(v any, others []any) (bool, error) {
	text, err := w.escaped(plainText, v)
	for _, other := range others {
		if err != nil {
			return false, err
		}
		var second string
		if second, err = w.escaped(plainText, other); err == nil && text == second {
			return true, nil
		}
	}
	return false, err
}

// record returns a record of CSV, of values and of the elements of lists. A field that is
// finished stays as it is.
func (w *run) record(values []any) (string, error) {
	var fields []any
	for _, v := range values {
		if list, ok := v.([]any); ok {
			fields = append(fields, list...)
		} else {
			fields = append(fields, v)
		}
	}
	err := w.budget.Make(sizeOfField * len(fields))
	var text string
	if err == nil {
		text, err = csvRecord(fields)
	}
	if err == nil {
		err = w.budget.Make(len(text))
	}
	if err != nil {
		return "", &callError{err}
	}
	return text, nil
}

// sizeOfField is what a field takes besides its text, in bytes.
const sizeOfField = 32

// plainText returns a text, number or boolean as it is written, and nothing for null.
func plainText(v any) (string, error) {
	switch v := v.(type) {
	case nil:
		return "", nil
	case string:
		return v, nil
	case finished:
		return v.text, nil
	case json.Number:
		return v.String(), nil
	case bool:
		return strconv.FormatBool(v), nil
	case int:
		return strconv.Itoa(v), nil
	case float64: // a constant of the template
		return strconv.FormatFloat(v, 'g', -1, 64), nil
	default:
		return "", fault("an object or a list is no text; take its fields, or the function json")
	}
}

func jsonText(v any) (string, error) {
	data, err := jq.Encode(v)
	if err != nil {
		return "", fault("JSON cannot write it")
	}
	return string(data), nil
}

// rejoin puts lines together that end as a format wants them to.
func rejoin(text, end string) string {
	return strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\n", end)
}
