package render

import (
	"bytes"
	"encoding/json"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/hms-utl/extsync/pkg/events"
)

// An escaper returns a value as a text of a format.
type escaper func(v any) (string, error)

// A format is how documents of one Format are written.
type format struct {
	contentType string
	function    string // the escaping function of templates in this format
	escape      escaper
	places      places
	lineEnd     string // of the template's own lines; "": as they are
	// natural writes a document without a template. nil: it needs one. payload is its text.
	natural func(w *run, document any, payload []byte) error
	// finish changes or checks what was written. nil: nothing is to be done.
	finish func(w *run) error
}

func formats() map[Format]format {
	return map[Format]format{
		JSON: {
			contentType: events.DefaultContentType, function: "json", escape: jsonText, places: jsonPlaces(),
			natural: compact, finish: checkJSON,
		},
		NDJSON: {
			contentType: "application/x-ndjson", function: "json", escape: jsonText, places: jsonPlaces(),
			natural: jsonLines, finish: checkLines,
		},
		CSV: {
			contentType: "text/csv; charset=utf-8", function: "csv", escape: csvField, places: csvPlaces(), lineEnd: "\r\n",
			natural: csvTable,
		},
		XML: {contentType: "application/xml", function: "xml", escape: xmlText, places: xmlPlaces()},
		ICS: {
			contentType: "text/calendar; charset=utf-8", function: "ics", escape: icsText, places: icsPlaces(),
			finish: foldLines,
		},
		Form: {
			contentType: "application/x-www-form-urlencoded", function: "form", escape: formText, places: anywhere(),
			natural: formFields,
		},
		Text: {
			contentType: "text/plain; charset=utf-8", escape: plainText, places: anywhere(),
			natural: func(w *run, document any, _ []byte) error {
				text, err := plainText(document)
				if err != nil {
					return err
				}
				return w.text(text)
			},
		},
	}
}

// compact keeps the order of names, and numbers as they are written.
func compact(w *run, _ any, payload []byte) error {
	var out bytes.Buffer
	if err := json.Compact(&out, payload); err != nil {
		return fault("JSON cannot write it")
	}
	return w.text(out.String())
}

func jsonLines(w *run, document any, payload []byte) error {
	elements := []json.RawMessage{payload}
	if _, ok := document.([]any); ok {
		if err := json.Unmarshal(payload, &elements); err != nil {
			return fault("JSON cannot write it")
		}
	}
	for _, element := range elements {
		if err := compact(w, nil, element); err != nil {
			return err
		}
		if err := w.text("\n"); err != nil {
			return err
		}
	}
	return nil
}

// checkJSON sees that a template made one document that everybody reads alike.
func checkJSON(w *run) error {
	if err := events.CheckJSON(w.out.Bytes()); err != nil && w.out.Len() > 0 {
		return fault("what it gives is not JSON: %v", err)
	}
	return nil
}

func checkLines(w *run) error {
	line := 0
	for text := range bytes.Lines(w.out.Bytes()) {
		line++
		if err := events.CheckJSON(text); err != nil {
			return fault("line %d of what it gives is not JSON: %v", line, err)
		}
	}
	return nil
}

// formText escapes all that is not a letter, a digit or one of -_.~ of ASCII.
func formText(v any) (string, error) {
	text, err := plainText(v)
	return url.QueryEscape(text), err
}

func formFields(w *run, document any, _ []byte) error {
	fields, ok := document.(map[string]any)
	if !ok {
		return fault("a form is made from an object")
	}
	separator := ""
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		value, err := formText(fields[name])
		if err != nil {
			return err
		}
		if err := w.text(separator + url.QueryEscape(name) + "=" + value); err != nil {
			return err
		}
		separator = "&"
	}
	return nil
}

// csvField returns a field of RFC 4180. A text that is empty has quotes, null has not.
func csvField(v any) (string, error) {
	if done, ok := v.(finished); ok {
		return done.text, nil
	}
	text, err := plainText(v)
	if err != nil || v == nil {
		return "", err
	}
	if text == "" || strings.ContainsAny(text, "\",\r\n\x00") || strings.TrimSpace(text) != text {
		text = `"` + strings.ReplaceAll(text, `"`, `""`) + `"`
	}
	return text, nil
}

// csvRecord returns a record without the end of its line. It is never an empty line, which
// readers pass over.
func csvRecord(values []any) (string, error) {
	fields := make([]string, len(values))
	for i, v := range values {
		var err error
		if fields[i], err = csvField(v); err != nil {
			return "", err
		}
	}
	if record := strings.Join(fields, ","); record != "" {
		return record, nil
	}
	return `""`, nil
}

func csvTable(w *run, document any, _ []byte) error {
	list, ok := document.([]any)
	if !ok {
		list = []any{document}
	}
	names := map[string]bool{}
	for _, row := range list {
		object, ok := row.(map[string]any)
		if !ok {
			return fault("csv is made from an object, or a list of them")
		}
		for name := range object {
			names[name] = true
		}
	}
	columns := w.config.Columns
	if len(columns) == 0 {
		columns = slices.Sorted(maps.Keys(names))
	}
	values := make([]any, len(columns))
	for i, name := range columns {
		values[i] = name
	}
	if err := w.line(values); err != nil || len(columns) == 0 {
		return err
	}
	for _, row := range list {
		object, _ := row.(map[string]any)
		for i, name := range columns {
			values[i] = object[name]
		}
		if err := w.line(values); err != nil {
			return err
		}
	}
	return nil
}

// line writes a record of CSV, nothing if it has no fields.
func (w *run) line(values []any) error {
	if len(values) == 0 {
		return nil
	}
	record, err := csvRecord(values)
	if err != nil {
		return err
	}
	return w.text(record + "\r\n")
}
