package schema_test

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"

	"github.com/hms-utl/extsync/pkg/schema"
)

// compiled returns a schema as another implementation reads it.
func compiled(t *testing.T, doc map[string]any) *jsonschema.Schema {
	t.Helper()
	doc["$schema"] = schema.Draft
	data, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	read, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("test.json", read); err != nil {
		t.Fatal(err)
	}
	out, err := c.Compile("test.json")
	if err != nil {
		t.Fatalf("%v\n%s", err, data)
	}
	return out
}

// The JSON Schema and the reader take and refuse the same documents, as far as JSON Schema
// has words for what is wrong.
func TestSchemaAgreesWithReader(t *testing.T) {
	s := compiled(t, schema.For[config]().JSON())
	for _, text := range []string{
		"url: u", "url: u\nnames: [x]", "url: u\nnames: x,y", "url: u\ntimeout: 1m30s", "url: u\ntries: 9", "url: u\nrate: 2.5",
		"url: u\nmode: table\ncolumns: [{name: a}]", "url: u\nheaders: {a: b}", "url: u\nfree: [1, {a: b}]", "url: u\ntoken: 'Bearer ${file:/x}'",
		"url: u\nbasic: {user: x}", "url: u\ncounts: {a: 3}", "url: u\nstrict: false",
		"{}", "url: [u]", "url: u\nmode: x", "url: u\ntries: 0", "url: u\ntries: 1.5", "url: u\nrate: -1", "url: u\nrate: 101", "url: u\ntimeout: 30",
		"url: u\ntimeout: soon", "url: u\nmode: table", "url: u\nmode: table\ncolumns: [{type: text}]", "url: u\nbasic: {style: body}", "url: u\ntoken: x",
		"url: u\nother: x", "url: u\nbasic: {user: x, other: y}", "url: u\ncounts: {a: -1.5}", "url: u\nheaders: [a]", "url: u\nstrict: 1",
		"url: u\nmode: table\ncolumns: [{name: a}, {name: b}, {name: c}, {name: d}]", "url: u\nmode: table\ncolumns: [{name: abcdefghi}]",
	} {
		_, err := decode(text)
		var v any
		if err := yaml.Unmarshal([]byte(text), &v); err != nil {
			t.Fatal(err)
		}
		if refusal := s.Validate(v); (err == nil) != (refusal == nil) {
			t.Errorf("%q\nreader: %v\nschema: %v", text, err, refusal)
		}
	}
}

// A form can be drawn from the schema.
func TestSchemaTellsForms(t *testing.T) {
	properties := schema.For[config]().JSON()["properties"].(map[string]any)
	for name, want := range map[string]map[string]any{
		"url":     {"title": "URL", "description": "Where the updates go.", "format": schema.FormatSecretRef, "x-secret": true, "x-group": "Target", "x-order": 2, "examples": []any{"https://target.example"}},
		"token":   {"x-reference": true, "x-order": 3},
		"headers": {"x-advanced": true, "examples": []any{json.RawMessage(`{"Accept":"text/plain"}`)}},
		"timeout": {"format": schema.FormatDuration, "default": "30s", "x-min": "10ms", "x-max": "1h"},
		"tries":   {"type": "integer", "default": 3, "minimum": 1.0, "maximum": 9.0},
		"columns": {"x-when": map[string]any{"mode": []string{"table"}}, "maxItems": 3.0},
		"strict":  {"default": true},
		"mode":    {"enum": []any{"document", "table"}, "default": "document"},
	} {
		got := properties[name].(map[string]any)
		for key, value := range want {
			a, err := json.Marshal(got[key])
			if err != nil {
				t.Fatal(err)
			}
			if b, err := json.Marshal(value); err != nil || !bytes.Equal(a, b) {
				t.Errorf("%s: %s is %s, want %s (%v)", name, key, a, b, err)
			}
		}
	}
}
