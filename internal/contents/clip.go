// Package contents makes what people may see of the contents of updates and of targets:
// without the fields that a channel hides, within a size, and field by field beside others.
package contents

import (
	"bytes"
	"encoding/json"
	"strings"
	"unicode/utf8"
)

// clippedMark ends a text of which the end is left out.
const clippedMark = "… (clipped)"

// Clip returns a JSON document with its longest texts shortened, so that it takes room bytes
// at most, and whether anything was. What still takes more is left out: nil.
func Clip(document json.RawMessage, room int) (out json.RawMessage, clipped bool) {
	if len(document) <= room {
		return document, false
	}
	value, err := decode(document)
	if err != nil {
		return nil, true
	}
	for most := room / 2; most >= 64; most /= 4 {
		if out, err := encode(shorten(value, most)); err == nil && len(out) <= room {
			return out, true
		}
	}
	return nil, true
}

// shorten returns a value in which no text has more than most bytes.
func shorten(value any, most int) any {
	switch v := value.(type) {
	case string:
		return ClipText(v, most)
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = shorten(v[i], most)
		}
		return out
	case map[string]any:
		out := make(map[string]any, len(v))
		for name, field := range v {
			out[name] = shorten(field, most)
		}
		return out
	default:
		return value
	}
}

// ClipText returns at most most bytes of a text, and says where it left something out. It says
// so also where most has no room for that.
func ClipText(text string, most int) string {
	if len(text) <= most {
		return text
	}
	keep := max(0, most-len(clippedMark))
	for keep > 0 && !utf8.RuneStart(text[keep]) {
		keep--
	}
	return text[:keep] + clippedMark
}

// decode reads a JSON document. Numbers keep their digits.
func decode(document []byte) (value any, err error) {
	dec := json.NewDecoder(bytes.NewReader(document))
	dec.UseNumber()
	err = dec.Decode(&value)
	return value, err
}

// encode writes a JSON document. What a page would take for markup stays as it is: it is
// data, and whoever shows it shows text.
func encode(value any) (json.RawMessage, error) {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(value); err != nil {
		return nil, err
	}
	return json.RawMessage(strings.TrimSuffix(b.String(), "\n")), nil
}
