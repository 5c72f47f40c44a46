package connsql

import (
	"encoding/json"
	"strings"
	"testing"
)

// What counts as JSON must not depend on which library looks.
func FuzzValidJSON(f *testing.F) {
	for _, text := range []string{
		``, ` `, `{}`, "\n[1, 2.5e-3, true, false, null, \"x\"]\t", `{"a": {"b": []}}`, `{"a": 1, "a": 2}`,
		`{"a":1}x`, `{"a":1} {"b":2}`, `nul`, `01`, `1.`, `-`, `-0`, `1e999`, `"\u00e9\ud83d\ude00"`, `"\ud800"`, `"\x"`, `"` + "\xff" + `"`,
		"\"\x01\"", `[1,]`, `{"a"}`, `{,}`, "\ufeff{}", strings.Repeat("[", 10_000) + strings.Repeat("]", 10_000), strings.Repeat("[", 10_001) + strings.Repeat("]", 10_001),
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if got, want := validJSON(data), json.Valid(data); got != want {
			t.Fatalf("%q: valid: %t, encoding/json says %t", data, got, want)
		}
	})
}
