package events_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/hms-utl/extsync/pkg/events"
)

func TestCheckJSON(t *testing.T) {
	for text, problem := range map[string]string{
		`{"a":1,"a":2}`:           "",
		" [\"\u00fc\"] \n":        "",
		`"\ud83d\ude00"`:          "",
		`"\ufffd"`:                "",
		"\"\uFFFD\"":              "",
		`"\uD800"`:                "surrogate",
		`"\uDC00\uD800"`:          "surrogate",
		`{"\udfff":1}`:            "surrogate",
		"{\"key\":\"pat-\xff\"}":  "byte 12",
		"\xff":                    "byte 0",
		"\"\xed\xa0\x80\"":        "byte 1", // half a pair, in UTF-8
		"\"\xc0\x80\"":            "byte 1", // a longer form of a shorter one
		"\xef\xbb\xbf{}":          "JSON",   // byte order mark
		``:                        "JSON",
		`{} {}`:                   "JSON",
		`{"a":}`:                  "JSON",
		strings.Repeat("[", 1e5):  "JSON",
		"{\"a\":\"secret\xfe\"\n": "byte 12",
	} {
		err := events.CheckJSON([]byte(text))
		if (err == nil) != (problem == "") || err != nil && (!strings.Contains(err.Error(), problem) || strings.Contains(err.Error(), "secret")) {
			t.Errorf("%.40q: %v, want %q", text, err, problem)
		}
	}
}

func TestCheckPayload(t *testing.T) {
	for _, c := range []struct {
		name, contentType, payload string
		op                         events.Op
		ok                         bool
	}{
		{name: "JSON", payload: `{"a":1}`, ok: true},
		{name: "JSON by its suffix", contentType: "application/ld+json; charset=utf-8", payload: `{"a":`},
		{name: "not UTF-8", payload: "\"\xff\""},
		{name: "half a pair", payload: `"\ud800"`},
		{name: "another type may be any bytes", contentType: "image/png", payload: "\x89PNG\xff", ok: true},
		{name: "empty"},
		{name: "empty, of another type", contentType: "text/plain"},
		{name: "delete", op: events.Delete, ok: true},
		{name: "delete with a payload", op: events.Delete, payload: `{"a":1}`},
	} {
		u := events.Update{Op: c.op, ContentType: c.contentType, Payload: []byte(c.payload)}
		if err := u.CheckPayload(); (err == nil) != c.ok || err != nil && !errors.Is(err, events.ErrInvalidUpdate) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// FuzzCheckJSON: what counts as JSON does not depend on which library looks, and of what
// passes nothing is lost when it is read.
func FuzzCheckJSON(f *testing.F) {
	for _, text := range []string{
		``, ` `, `{}`, "\n[1, 2.5e-3, true, false, null, \"x\"]\t", `{"a": {"b": []}}`, `{"a": 1, "a": 2}`,
		`{"a":1}x`, `{"a":1} {"b":2}`, `nul`, `01`, `1.`, `-`, `-0`, `1e999`, `"\u00e9\ud83d\ude00"`, `"\ud800x"`, `"\x"`, "\"a\xffb\"",
		"\"\x01\"", `[1,]`, `{"a"}`, `{,}`, "\ufeff{}", strings.Repeat("[", 10_000) + strings.Repeat("]", 10_000), strings.Repeat("[", 10_001) + strings.Repeat("]", 10_001),
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		err := events.CheckJSON(text)
		passes := err == nil || strings.Contains(err.Error(), "surrogate")
		if want := json.Valid(text) && utf8.Valid(text); passes != want {
			t.Fatalf("%q: %v, encoding/json and utf8 say %t", text, err, want)
		}
		var read string
		if err != nil || json.Unmarshal(text, &read) != nil {
			return
		}
		// Each U+FFFD that was read stands in the text, as such or as an escape.
		written := strings.Count(string(text), "\uFFFD") + strings.Count(strings.ToLower(string(text)), `\ufffd`)
		if strings.Count(read, "\uFFFD") > written {
			t.Errorf("%q is read as %q", text, read)
		}
	})
}
