package render_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/internal/jq"
	"github.com/hms-utl/extsync/pkg/render"
)

// values are those of render.Variables.
func values() []any {
	return []any{"erp", "p-1", json.Number("9007199254740993"), nil, "id-1", "/platform", "policy.changed", nil}
}

func written(t testing.TB, c render.Config, document string) (string, error) {
	t.Helper()
	r, err := render.New(c)
	if err != nil {
		t.Fatal(err)
	}
	out, err := r.Render(t.Context(), []byte(document), values())
	return string(out), err
}

func TestFormatsWithoutTemplate(t *testing.T) {
	for _, c := range []struct {
		config         render.Config
		document, want string
	}{
		{render.Config{Format: render.JSON}, `{"b" : 1.10, "a": "<é>"}`, `{"b":1.10,"a":"<é>"}`},
		{render.Config{Format: render.NDJSON}, `[{"b": 1, "a": 2}, 12345678901234567890]`, "{\"b\":1,\"a\":2}\n12345678901234567890\n"},
		{render.Config{Format: render.NDJSON}, `{"b": 1}`, "{\"b\":1}\n"},
		{render.Config{Format: render.CSV}, `[{"b":1.10,"a":"x,\"y\""},{"a":"","c":null}]`, "a,b,c\r\n\"x,\"\"y\"\"\",1.10,\r\n\"\",,\r\n"},
		{render.Config{Format: render.CSV, Columns: []string{"b", "z"}}, `{"a":1,"b":true}`, "b,z\r\ntrue,\r\n"},
		{render.Config{Format: render.CSV, Columns: []string{"a"}}, `[{"a":null}]`, "a\r\n\"\"\r\n"},
		{render.Config{Format: render.CSV, Columns: []string{"a"}}, `[]`, "a\r\n"},
		{render.Config{Format: render.Form}, `{"b":"a&b=c d","a":1}`, `a=1&b=a%26b%3Dc+d`},
		{render.Config{Format: render.Text}, `"a\nb"`, "a\nb"},
		{render.Config{Format: render.Text}, `12345678901234567890`, "12345678901234567890"},
	} {
		if got, err := written(t, c.config, c.document); got != c.want || err != nil {
			t.Errorf("%s of %s: %q, %v", c.config.Format, c.document, got, err)
		}
	}
}

func TestTemplates(t *testing.T) {
	const document = `{"s":"a<b>\"&\n","n":12345678901234567890,"d":1.10,"list":[1,"x,y"],"o":{"b":1},"null":null,"yes":true}`
	for _, c := range []struct {
		format         render.Format
		template, want string
	}{
		{render.XML, `<a b="{{.s}}">{{.n}} {{.d}} {{.yes}}</a>`, `<a b="a&lt;b&gt;&#34;&amp;&#xA;">12345678901234567890 1.10 true</a>`},
		{render.XML, `<a>{{xml .o.b}}{{.null}}{{.missing}}{{with .missing}}x{{else}}none{{end}}</a>`, `<a>1none</a>`},
		{render.XML, `<a>{{json .o}}</a>`, `<a>{&#34;b&#34;:1}</a>`},
		{render.XML, `<a{{if .yes}} c='{{.n}}'{{end}}>{{raw "<b/>"}}</a>`, `<a c='12345678901234567890'><b/></a>`},
		{render.XML, `<k v="{{$version}}" b="{{$base}}" t="{{$time}}">{{$key}} {{$channel}}</k>`, `<k v="9007199254740993" b="" t="">p-1 erp</k>`},
		{render.XML, `<l>{{range $i, $x := .list}}<i n="{{$i}}">{{$x}}</i>{{end}}</l>`, `<l><i n="0">1</i><i n="1">x,y</i></l>`},
		{render.XML, `<l>{{len .list}}{{index .list 1}}{{slice $key 0 1}}{{if eq .o.b 1}}one{{end}}{{if ne .o.b "1"}}other{{end}}{{if and .yes (not .null)}}both{{end}}</l>`, `<l>2x,ypone` + `both</l>`},
		{render.XML, `<l>{{json (xml "<")}}{{xml (xml "<")}}{{(xml "<").String}}</l>`, `<l>&#34;&amp;lt;&#34;&lt;&amp;lt;</l>`},
		{render.CSV, "{{row (csv .s) \"x\"}}\n", "\"a<b>\"\"&\n\",x\r\n"},
		{render.XML, "<!-- c --><?pi x?><![CDATA[<]]><a>{{.d}}</a>", "<!-- c --><?pi x?><![CDATA[<]]><a>1.10</a>"},
		{render.CSV, "key,a\n{{$key}},{{.s}}\n{{row .list .o.b}}\n", "key,a\r\np-1,\"a<b>\"\"&\n\"\r\n1,\"x,y\",1\r\n"},
		{render.CSV, "{{range .list}}{{.}}\n{{end}}", "1\r\n\"x,y\"\r\n"},
		{render.JSON, `{"s": {{.s}}, "n": {{.n}}, "o": {{.o}}, "v": {{$version}}, "m": {{.missing}}}`, `{"s": "a<b>\"&\n", "n": 12345678901234567890, "o": {"b":1}, "v": 9007199254740993, "m": null}`},
		{render.NDJSON, "{{range .list}}{{.}}\n{{end}}", "1\n\"x,y\"\n"},
		{render.Form, `k={{$key}}&s={{.s}}`, `k=p-1&s=a%3Cb%3E%22%26%0A`},
		{render.Text, `{{.s}}{{xml .s}}`, "a<b>\"&\na&lt;b&gt;&#34;&amp;&#xA;"},
		{render.ICS, "BEGIN:X\nA;P=\"a:b\":{{.s}}\n\nEND:X\n", "BEGIN:X\r\nA;P=\"a:b\":a<b>\"&\\n\r\nEND:X\r\n"},
	} {
		if got, err := written(t, render.Config{Format: c.format, Template: c.template}, document); got != c.want || err != nil {
			t.Errorf("%s: %s:\n%q, %v\nwant\n%q", c.format, c.template, got, err, c.want)
		}
	}
}

// A template that could write a value where it becomes more than a value is refused, and
// so is all that is not known to be bounded.
func TestRefusedTemplates(t *testing.T) {
	for _, c := range []struct {
		format         render.Format
		template, says string
	}{
		{render.XML, "<a>\n{{.x", "line 2: unclosed action"},
		{render.XML, "<a>\n\n{{printf .x}}</a>", `line 3: function "printf" not defined`},
		{render.XML, "{{call .x}}", `function "call" not defined`},
		{render.XML, "{{$nosuch}}", `undefined variable "$nosuch"`},
		{render.XML, "<a>\n<{{.x}}/></a>", "line 2: {{.x}}: in xml a value stands"},
		{render.XML, "<a {{.x}}='1'/>", "line 1"},
		{render.XML, "<a b={{.x}}/>", "line 1"},
		{render.XML, "<!-- {{.x}} -->", "line 1"},
		{render.XML, "<![CDATA[{{.x}}]]>", "line 1"},
		{render.XML, "<?a {{.x}}?>", "line 1"},
		{render.XML, "<a{{if .x}}>{{end}}{{.y}}</a>", "branches"},
		{render.XML, "<a {{range .x}}>{{end}}", "turn"},
		{render.XML, "<a", "open"},
		{render.CSV, `"{{.x}}"`, "whole field"},
		{render.CSV, `a{{.x}}`, "whole field"},
		{render.CSV, `{{.x}}b`, "whole field"},
		{render.CSV, `{{.x}}{{.y}}`, "whole field"},
		{render.CSV, `{{if .x}}{{.x}}{{end}}{{.y}}`, "whole field"},
		{render.CSV, `{{range .x}}{{.}}{{end}}`, "whole field"},
		{render.JSON, `{"a": "{{.x}}"}`, "brings its quotes"},
		{render.JSON, `{"a": "\"{{.x}}"}`, "brings its quotes"},
		{render.ICS, "ATTENDEE;CN={{.x}}:mailto:a", "behind the colon"},
		{render.ICS, `A;CN="a:{{.x}}":b`, "behind the colon"},
		{render.ICS, `A:\{{.x}}`, "behind the colon"},
		{render.Text, `{{define "a"}}{{template "a" .}}{{end}}{{template "a" .}}`, "defines no other"},
		{render.Text, `{{template "render" .}}`, "do not call each other"},
		{render.Text, `{{block "a" .}}x{{end}}`, "defines no other"},
		{render.Text, `{{range .}}{{break}}{{end}}`, "no break"},
		{render.Text, strings.Repeat("x", 64<<10+1), "more than 65536"},
	} {
		_, err := render.New(render.Config{Format: c.format, Template: c.template})
		if !errors.Is(err, connectors.ErrConfig) || !strings.Contains(err.Error(), "render.template: ") || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %.100s: %v", c.format, c.template, err)
		}
	}
	for says, c := range map[string]render.Config{
		"render.format: \"yaml\" is none of": {Format: "yaml"},
		"format xml needs one":               {Format: render.XML},
		"format ics needs one":               {Format: render.ICS},
		"is not a media type":                {Format: render.Text, ContentType: "text/plain\r\nx: y"},
		"it is not one of JSON":              {Format: render.JSON, ContentType: "text/plain"},
		"means nothing unless format is csv": {Format: render.Form, Columns: []string{"a"}},
		"is there twice":                     {Format: render.CSV, Columns: []string{"a", "a"}},
	} {
		if _, err := render.New(c); !errors.Is(err, connectors.ErrConfig) || !strings.Contains(err.Error(), says) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

func TestFailuresShowNoDocument(t *testing.T) {
	const canary = "canary"
	document := `{"s":"canary\u0001","list":["canary"],"o":{"canary":1}}`
	for _, c := range []struct {
		format              render.Format
		template, doc, says string
	}{
		{render.XML, "<a>\n{{.s}}</a>", document, "line 2: it fails: XML has no character U+0001"},
		{render.ICS, "A:{{.s}}", document, "iCalendar has no character U+0001"},
		{render.Text, "{{range .s}}x{{end}}", document, "does not fit"},
		{render.Text, "{{.s.x}}", document, "it has no fields"},
		{render.Text, "{{.list}}", document, "no text"},
		{render.Text, "{{index .list .s}}", document, "does not fit"},
		{render.Text, "{{index .list 7}}", document, "does not fit"},
		{render.Text, "{{.missing}}", document, "nothing"},
		{render.CSV, "{{slice (csv .s) 1 3}}", document, "does not fit"},
		{render.JSON, "{{.s}} {{.s}}", document, "not JSON"},
		{render.NDJSON, "1\n{{.s}} 1\n", document, "line 2 of what it gives"},
		{render.CSV, "", `[{"a":["canary"]}]`, "no text"},
		{render.CSV, "", `["canary"]`, "csv is made from"},
		{render.CSV, "", `[]`, "nothing"},
		{render.Form, "", `["canary"]`, "a form is made from"},
		{render.Form, "", `{"a":{"canary":1}}`, "no text"},
		{render.Text, "", `{"canary":1}`, "no text"},
		{render.Text, "", `canary`, "payload: it is not valid JSON"},
	} {
		_, err := written(t, render.Config{Format: c.format, Template: c.template}, c.doc)
		if err == nil || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), canary) {
			t.Errorf("%s %s: %v", c.format, c.template, err)
		}
		if !errors.Is(err, render.ErrFails) && !errors.Is(err, jq.ErrInput) {
			t.Errorf("%s %s: %v is not what Render promises", c.format, c.template, err)
		}
	}
}

// Whatever the template and the document, a run is over.
func TestHostileTemplates(t *testing.T) {
	numbers := "[" + strings.Repeat("1,", 3_000) + "1]"
	long := `"` + strings.Repeat("&", 1<<20) + `"`
	for _, c := range []struct{ name, template, document string }{
		{"a loop over a number", `{{range 1000000000000}}{{end}}`, `1`},
		{"loops in loops that write nothing", `{{range $}}{{if .}}{{range $}}{{with .}}{{range $}}{{end}}{{end}}{{end}}{{end}}{{end}}`, numbers},
		{"much is written", `{{range 1000}}{{$}}{{end}}`, long},
		{"values that grow", `{{$x := .}}{{range 100}}{{$x = xml $x}}{{end}}`, long},
		{"many values", strings.Repeat(`{{$a := raw .}}`, 4_000), long},
		{"values in values", `{{xml (xml (xml (xml (xml (xml (xml .))))))}}`, long},
		{"comparisons", `{{range 1000000}}{{if eq $ $ $ $ $ $ $ $ $}}{{end}}{{end}}`, long},
		{"long records", `{{range 10000}}{{$a := row $ $ $ $}}{{end}}`, long},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		r, err := render.New(render.Config{Format: render.Text, Template: c.template})
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		_, err = r.Render(ctx, []byte(c.document), values())
		if !errors.Is(err, jq.ErrBounds) && !errors.Is(err, jq.ErrCostly) {
			t.Errorf("%s: %v", c.name, err)
		}
		cancel()
	}
}

func TestARunEndsWithItsContext(t *testing.T) {
	r, err := render.New(render.Config{Format: render.Text, Template: `{{range 1000000000000}}{{end}}`})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.Render(ctx, []byte(`1`), values()); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}
