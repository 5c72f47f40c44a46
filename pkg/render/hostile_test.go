package render_test

import (
	"encoding/csv"
	"encoding/json"
	"encoding/xml"
	"net/url"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/hms-utl/extsync/pkg/render"
)

// Each template below makes a text of three values, and a strict reader of the
// format finds in the places of the values, and nothing else anywhere.
func FuzzHostileValues(f *testing.F) {
	for _, s := range []string{
		"", "<", "&amp;", `"`, "'", "]]>", "-->", "a,b", "\n", "\r\n", "\r", "\t", " x ", ";", `\`, `\n`, ":", "BEGIN:VEVENT", "%26", "+", "=1+1",
		"\x00", "\x01", "\x7f", "\uFFFE", "\u2028", "é", "😀", `"},{"a":"`, `</v><v>`, "x\nEND:VEVENT\nBEGIN:VEVENT", strings.Repeat("é", 100), `","`, "{{.a}}",
	} {
		f.Add(s, "x", s)
		f.Add("x", s, "")
	}
	readers := map[render.Format]struct {
		template string
		read     func(t *testing.T, out string) []string
		want     func(s string) string // how a value is read again; nil: as it is
	}{
		render.XML:  {`<v a="{{.a}}" b='{{.b}}'>{{.c}}</v>`, readXML, nil},
		render.CSV:  {"{{.a}},{{.b}},{{.c}}\n", readCSV, unixLines},
		render.JSON: {`[{{.a}},{{.b}},{{.c}}]`, readJSON, nil},
		render.Form: {`a={{.a}}&b={{.b}}&c={{.c}}`, readForm, nil},
		render.ICS:  {"BEGIN:V\nA:{{.a}}\nB;P=\"x:y\":{{.b}}\nC:{{.c}}\nEND:V\n", readICS, icsLines},
	}
	renderers := map[render.Format]*render.Renderer{}
	for format, c := range readers {
		var err error
		if renderers[format], err = render.New(render.Config{Format: format, Template: c.template}); err != nil {
			f.Fatal(err)
		}
	}
	f.Fuzz(func(t *testing.T, a, b, c string) {
		if !valid(a, b, c) {
			return
		}
		document, err := json.Marshal(map[string]string{"a": a, "b": b, "c": c})
		if err != nil {
			t.Fatal(err)
		}
		for format, reader := range readers {
			out, err := renderers[format].Render(t.Context(), document, values())
			if err != nil {
				if unwritable(format, a+b+c) {
					continue
				}
				t.Fatalf("%s: %v", format, err)
			}
			want := []string{a, b, c}
			for i, s := range want {
				if reader.want != nil {
					want[i] = reader.want(s)
				}
			}
			if got := reader.read(t, string(out)); strings.Join(got, "\x00|") != strings.Join(want, "\x00|") {
				t.Fatalf("%s: %q is read as %q", format, out, got)
			}
		}
	})
}

// unwritable reports whether a format has no way to write a text.
func unwritable(format render.Format, s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool {
		control := r < ' ' && r != '\t' && r != '\n' && r != '\r'
		return format == render.XML && (control || r == 0xFFFE || r == 0xFFFF) || format == render.ICS && (control || r == 0x7F)
	})
}

func readXML(t *testing.T, out string) []string {
	var v struct {
		XMLName xml.Name   `xml:"v"`
		Attrs   []xml.Attr `xml:",any,attr"`
		Text    string     `xml:",chardata"`
		Inner   []struct{} `xml:",any"`
	}
	dec := xml.NewDecoder(strings.NewReader(out))
	if err := dec.Decode(&v); err != nil || len(v.Attrs) != 2 || len(v.Inner) != 0 || dec.InputOffset() != int64(len(out)) {
		t.Fatalf("%q: %v, %+v", out, err, v)
	}
	return []string{v.Attrs[0].Value, v.Attrs[1].Value, v.Text}
}

func readCSV(t *testing.T, out string) []string {
	records, err := csv.NewReader(strings.NewReader(out)).ReadAll()
	if err != nil || len(records) != 1 {
		t.Fatalf("%q: %v, %d records", out, err, len(records))
	}
	return records[0]
}

// unixLines is what encoding/csv makes of the ends of lines in a field.
func unixLines(s string) string { return strings.ReplaceAll(s, "\r\n", "\n") }

func readJSON(t *testing.T, out string) (list []string) {
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		t.Fatalf("%q: %v", out, err)
	}
	return list
}

func readForm(t *testing.T, out string) []string {
	form, err := url.ParseQuery(out)
	if err != nil || len(form) != 3 || len(form["a"])+len(form["b"])+len(form["c"]) != 3 {
		t.Fatalf("%q: %v, %v", out, err, form)
	}
	return []string{form.Get("a"), form.Get("b"), form.Get("c")}
}

// readICS reads lines as RFC 5545 defines them.
func readICS(t *testing.T, out string) []string {
	for line := range strings.SplitSeq(strings.TrimSuffix(out, "\r\n"), "\r\n") {
		if line == "" || len(line) > 75 || strings.ContainsAny(line, "\r\n") || !utf8.ValidString(line) {
			t.Fatalf("the line %q of %q", line, out)
		}
	}
	lines := strings.Split(strings.ReplaceAll(out, "\r\n ", ""), "\r\n")
	names := []string{"BEGIN:V", "A:", `B;P="x:y":`, "C:", "END:V", ""}
	if len(lines) != len(names) {
		t.Fatalf("%q has %d lines", out, len(lines))
	}
	var got []string
	for i, name := range names {
		value, ok := strings.CutPrefix(lines[i], name)
		if !ok || len(name) == 0 && value != "" {
			t.Fatalf("the line %q of %q", lines[i], out)
		}
		if i >= 1 && i <= 3 {
			got = append(got, unescaped(t, value))
		}
	}
	return got
}

func unescaped(t *testing.T, value string) string {
	var out strings.Builder
	for i := 0; i < len(value); i++ {
		switch c := value[i]; c {
		case ';', ',':
			t.Fatalf("%q separates values", value)
		case '\\':
			i++
			if i == len(value) {
				t.Fatalf("%q ends within an escape", value)
			}
			out.WriteString(strings.NewReplacer("n", "\n").Replace(value[i : i+1]))
		default:
			out.WriteByte(c)
		}
	}
	return out.String()
}

// icsLines is the one end of a line that iCalendar has.
func icsLines(s string) string {
	return strings.ReplaceAll(strings.ReplaceAll(s, "\r\n", "\n"), "\r", "\n")
}

// However a document is shaped, its csv without a template is read again as it was.
func FuzzTable(f *testing.F) {
	f.Add("a", "b", "c", "\r")
	f.Add("", "", " ", `"`)
	f.Add("x,y", "\n", "x", "")
	f.Fuzz(func(t *testing.T, first, second, a, b string) {
		if !valid(first, second, a, b) || first == second || first+second == "" {
			return
		}
		document, err := json.Marshal([]map[string]string{{first: a, second: b}})
		if err != nil {
			t.Fatal(err)
		}
		out, err := written(t, render.Config{Format: render.CSV, Columns: []string{first, second}}, string(document))
		if err != nil {
			t.Fatal(err)
		}
		records, err := csv.NewReader(strings.NewReader(out)).ReadAll()
		if err != nil || len(records) != 2 || len(records[0]) != 2 {
			t.Fatalf("%q: %v, %q", out, err, records)
		}
		for i, want := range []string{first, second, a, b} {
			if got := records[i/2][i%2]; got != unixLines(want) {
				t.Fatalf("%q: %q is read as %q", out, want, got)
			}
		}
	})
}

// valid reports whether each text is UTF-8, as all texts of JSON documents are.
func valid(texts ...string) bool {
	return !slices.ContainsFunc(texts, func(s string) bool { return !utf8.ValidString(s) })
}
