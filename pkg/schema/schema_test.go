package schema_test

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/hms-utl/extsync/pkg/schema"
)

type ref string

func (ref) ConfigFormat() string { return schema.FormatSecretRef }

type duration time.Duration

func (duration) ConfigFormat() string { return schema.FormatDuration }

func (d duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

func (d *duration) UnmarshalText(b []byte) error {
	v, err := schema.ParseDuration(string(b))
	*d = duration(v)
	return err
}

type list []string

func (l *list) UnmarshalText(b []byte) error {
	*l = strings.Split(string(b), ",")
	return nil
}

type column struct {
	Name string `yaml:"name" doc:"The name of the column." required:"true" example:"city" max:"8"`
	Type string `yaml:"type" doc:"The type of the column." default:"text" enum:"text,integer"`
}

type Inline struct {
	Names list `yaml:"names" doc:"Names of whatever it is." example:"a,b"`
}

type config struct {
	Inline  `yaml:",inline"`
	Mode    string            `yaml:"mode" doc:"What a row is: anything else fails." default:"document" enum:"document,table" group:"Rows"`
	URL     ref               `yaml:"url" doc:"Where the updates go." required:"true" example:"https://target.example" group:"Target"`
	Token   ref               `yaml:"token" doc:"What proves who we are." reference:"true" example:"${env:TOKEN}" group:"Target"`
	Headers map[string]ref    `yaml:"headers" doc:"What is sent besides." example:"{Accept: text/plain}" group:"Target" advanced:"true"`
	Timeout duration          `yaml:"timeout" doc:"When it is given up." default:"30s" min:"10ms" max:"1h" group:"Target"`
	Tries   int               `yaml:"tries" doc:"How often it is tried." default:"3" min:"1" max:"9" group:"Target"`
	Rate    float64           `yaml:"rate" doc:"How many go there a second." min:"0" max:"100" example:"2.5" group:"Target"`
	Create  bool              `yaml:"create" doc:"Whether it is made where it is missing." group:"Rows"`
	Strict  *bool             `yaml:"strict" doc:"Whether others are refused." default:"true" group:"Rows"`
	Columns []column          `yaml:"columns" doc:"What is taken out of it." required:"true" when:"mode=table" max:"3" group:"Rows"`
	Basic   basic             `yaml:"basic" doc:"A name and what proves it." group:"Target"`
	Delete  *basic            `yaml:"delete" doc:"The same, where it is deleted." group:"Target"`
	Free    json.RawMessage   `yaml:"free" doc:"Whatever the target wants." example:"{a: 1}" group:"Target"`
	Any     any               `yaml:"any" doc:"Whatever else it wants." example:"7" group:"Target"`
	Counts  map[string]uint16 `yaml:"counts" doc:"How many of each there are." example:"{a: 1}" group:"Rows"`
	Hidden  string            `yaml:"-"`
}

type basic struct {
	User  string `yaml:"user" doc:"The name of the user." required:"true" example:"me"`
	Style string `yaml:"style" doc:"Where it is written." default:"header" enum:"header,body"`
}

func decode(text string) (config, error) {
	var c config
	var p schema.Problems
	p.Decode([]byte(text), &c)
	p.Check(&c)
	return c, p.Err()
}

func TestWhatIsRead(t *testing.T) {
	yes, no := true, false
	want := func(change func(*config)) config {
		c := config{Mode: "document", URL: "u", Timeout: duration(30 * time.Second), Tries: 3, Strict: &yes, Basic: basic{Style: "header"}}
		change(&c)
		return c
	}
	for name, tt := range map[string]struct {
		text string
		want config
	}{
		"defaults":               {"url: u", want(func(*config) {})},
		"JSON":                   {`{"url":"u","tries":5}`, want(func(c *config) { c.Tries = 5 })},
		"null is nothing":        {"url: u\ntries: ~\nstrict:\nbasic: null", want(func(*config) {})},
		"false against default":  {"url: u\nstrict: false", want(func(c *config) { c.Strict = &no })},
		"list as list":           {"url: u\nnames: [x, y]", want(func(c *config) { c.Names = list{"x", "y"} })},
		"list as text":           {"url: u\nnames: x,y", want(func(c *config) { c.Names = list{"x", "y"} })},
		"empty list":             {"url: u\nnames: []", want(func(c *config) { c.Names = list{} })},
		"number as text":         {"url: 0123", want(func(c *config) { c.URL = "0123" })},
		"pointer has defaults":   {"url: u\ndelete: {user: x}", want(func(c *config) { c.Delete = &basic{"x", "header"} })},
		"elements have defaults": {"url: u\nmode: table\ncolumns: [{name: a}]", want(func(c *config) { c.Mode, c.Columns = "table", []column{{"a", "text"}} })},
		"anything": {"url: u\nfree: {n: 9007199254740993, f: 1.50, d: 2026-01-02, h: 0x10, l: [~, no, true]}\nany: [9007199254740993]", want(func(c *config) {
			c.Free, c.Any = json.RawMessage(`{"n":9007199254740993,"f":1.50,"d":"2026-01-02","h":16,"l":[null,"no",true]}`), []any{json.Number("9007199254740993")}
		})},
		"alias": {"url: &u u\ntoken: ${env:T}\nheaders: {a: *u}", want(func(c *config) { c.Token, c.Headers = "${env:T}", map[string]ref{"a": "u"} })},
		"merge": {"url: u\nbasic: &b {user: x, style: body}\ndelete: {<<: *b, user: y}", want(func(c *config) {
			c.Basic, c.Delete = basic{"x", "body"}, &basic{"y", "body"}
		})},
		"merge of some": {"url: u\nbasic: &b {user: x}\ndelete: {<<: [*b, {style: body, user: z}]}", want(func(c *config) {
			c.Basic, c.Delete = basic{"x", "header"}, &basic{"x", "body"}
		})},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := decode(tt.text)
			if err != nil || !reflect.DeepEqual(got, tt.want) {
				t.Fatalf("%v\ngot  %+v\nwant %+v", err, got, tt.want)
			}
		})
	}
}

// Every problem is told with its line and path, in words that name no type and no library.
func TestWhatIsRefused(t *testing.T) {
	for name, tt := range map[string]struct{ text, want string }{
		"missing":           {"tries: 3", "url: it is missing"},
		"unknown":           {"url: u\ntimout: 3s", "line 2: timout: there is no such field; did you mean timeout?"},
		"quite unknown":     {"url: u\nbasic: {user: x, q: 1}", "line 2: basic.q: there is no such field; there are user, style"},
		"twice":             {"url: u\ntries: 1\ntries: 2", "line 3: tries: it is there twice"},
		"enum":              {"url: u\nmode: tabel", `line 2: mode: "tabel" is none of document, table; did you mean table?`},
		"empty enum":        {"url: u\nmode: ''", `line 2: mode: "" is none of document, table`},
		"range":             {"url: u\ntries: 10", "line 2: tries: 10 is outside 1..9"},
		"explicit zero":     {"url: u\ntries: 0", "line 2: tries: 0 is outside 1..9"},
		"range of duration": {"url: u\ntimeout: 2h", "line 2: timeout: 2h0m0s is outside 10ms..1h"},
		"no duration":       {"url: u\ntimeout: 30", `line 2: timeout: "30" is not a duration: it has no unit; write 30s, 30m, 30h or 30d`},
		"no number":         {"url: u\ntries: often", `line 2: tries: "often" is not a whole number`},
		"no whole number":   {"url: u\ntries: 2.5", `line 2: tries: 2.5 is not a whole number`},
		"no such number":    {"url: u\nrate: .nan", `line 2: rate: ".nan" is not a number`},
		"negative":          {"url: u\ncounts: {a: -1}", `line 2: counts.a: -1 is not a whole number`},
		"too large":         {"url: u\ncounts: {a: 65536}", `line 2: counts.a: 65536 is not a whole number`},
		"no bool":           {"url: u\ncreate: yes", `line 2: create: "yes" is not true or false`},
		"list for text":     {"url: [u]", "url: a list cannot be here; it takes a text"},
		"text for list":     {"url: u\ncolumns: x", "line 2: columns: a value cannot be here; it takes a list, as [a, b]"},
		"text for fields":   {"url: u\nbasic:\n  x", "line 2: basic: a value cannot be here; it takes the fields user, style"},
		"text for mapping":  {"url: u\nheaders: x", "line 2: headers: a value cannot be here; it takes a mapping, as {name: value}"},
		"document is list":  {"- a\n- b", "a list cannot be here; it takes the fields names, mode"},
		"secret in clear":   {"url: u\ntoken: s3cret", "line 2: token: it must refer to a secret, as ${env:NAME} or ${file:/path}"},
		"secret is list":    {"url: u\ntoken: [s3cret]", "line 2: token: a list cannot be here"},
		"not where it is":   {"url: u\ncolumns: [{name: a}]", "line 2: columns: it means nothing unless mode is table"},
		"missing there":     {"url: u\nmode: table", "columns: it is missing"},
		"missing in list":   {"url: u\nmode: table\ncolumns:\n  - name: a\n  - type: text", "line 5: columns[1].name: it is missing"},
		"too long":          {"url: u\nmode: table\ncolumns: [{name: abcdefghi}]", "line 3: columns[0].name: 9 bytes is more than 8"},
		"too many":          {"url: u\nmode: table\ncolumns: [{name: a}, {name: b}, {name: c}, {name: d}]", "line 3: columns: 4 entries is more than 3"},
		"missing in struct": {"url: u\nbasic: {style: body}", "line 2: basic.user: it is missing"},
		"odd name":          {"url: u\nheaders: {'a.b': [1]}", `line 2: headers["a.b"]: a list cannot be here`},
		"tag":               {"url: !ruby/object x", "url: tags such as !ruby/object are not used here"},
		"tag of mapping":    {"url: u\nbasic: !x {user: y}", "line 2: basic: tags such as !x are not used here"},
		"binary":            {"url: !!binary aGk=", "url: tags such as !!binary are not used here"},
		"name is list":      {"url: u\nheaders: {[a]: b}", "line 2: headers: each name must be a text"},
		"bad merge":         {"url: u\nbasic: {<<: x}", "line 2: basic: << takes a mapping, or a list of mappings"},
		"not JSON":          {"url: u\nfree: {a: .inf}", `line 2: free.a: ".inf" is not a number that JSON can write`},
		"two documents":     {"url: u\n---\nurl: v", "there is more than one document"},
		"syntax":            {"url: u\nbasic: {user: x", "line "},
		"unknown anchor":    {"url: *x", "it is neither YAML nor JSON: unknown anchor 'x' referenced"},
		"itself":            {"url: u\nany: &a [*a]", "it is nested deeper than 64 levels"},
		"larger":            {strings.Repeat("#", schema.MaxLen+1), "it is larger than 1048576 bytes"},
		"alias":             {"url: u\nheaders: {a: &a {x: y}}\ncounts:\n  b: *a", "line 4: counts.b: a mapping (name: value) cannot be here; it takes a whole number"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := decode(tt.text)
			var e *schema.Error
			if !errors.As(err, &e) || !errors.Is(err, schema.ErrInvalid) || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("got  %v\nwant %s", err, tt.want)
			}
			for _, word := range []string{"unmarshal", "!!str", "schema_test", "yaml:", "json:", "strconv", "s3cret"} {
				if strings.Contains(err.Error(), word) {
					t.Errorf("%q is in: %v", word, err)
				}
			}
		})
	}
}

// What follows from a value that could not be read is not told besides, and everything
// else is, in the order of the file.
func TestEverythingIsToldOnceAndInOrder(t *testing.T) {
	_, err := decode("tries: 10\nbasic: {style: [a], user: {}}\nmode: x\ntimout: 1s\nurl: [u]\ntoken: clear")
	want := strings.Join([]string{
		"invalid configuration: line 1: tries: 10 is outside 1..9",
		"line 2: basic.style: a list cannot be here; it takes a text",
		"line 2: basic.user: a mapping (name: value) cannot be here; it takes a text",
		`line 3: mode: "x" is none of document, table`,
		"line 4: timout: there is no such field; did you mean timeout?",
		"line 5: url: a list cannot be here; it takes a text",
		"line 6: token: it must refer to a secret, as ${env:NAME} or ${file:/path}",
	}, "; ")
	if err == nil || err.Error() != want {
		t.Fatalf("got  %v\nwant %s", err, want)
	}
}

// A small document cannot make the reader work for long, nor remember much.
func TestBombs(t *testing.T) {
	var b strings.Builder
	b.WriteString("url: u\nany:\n  - &a0 [x, x, x, x, x, x, x, x, x]\n")
	for i := range 9 {
		n := string(rune('0' + i))
		b.WriteString("  - &a" + string(rune('1'+i)) + " [" + strings.Repeat("*a"+n+", ", 8) + "*a" + n + "]\n")
	}
	merges := "url: u\nany:\n  - &m0 {a: b}\n"
	for i := range 9 {
		n := string(rune('0' + i))
		merges += "  - &m" + string(rune('1'+i)) + " {<<: [" + strings.Repeat("*m"+n+", ", 8) + "*m" + n + "]}\n"
	}
	for name, text := range map[string]string{
		"lists":    b.String(),
		"merges":   merges,
		"texts":    "url: u\nany: [&t " + strings.Repeat("x", 500_000) + strings.Repeat(", *t", 100) + "]",
		"brackets": "url: u\nany: " + strings.Repeat("[", 5000) + strings.Repeat("]", 5000),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := decode(text)
			if err == nil || len(err.Error()) > 20_000 || !strings.Contains(err.Error(), "than") && !strings.Contains(err.Error(), "too large") {
				t.Fatalf("%.300v", err)
			}
		})
	}
}

func TestProblemsOfSomethingBelow(t *testing.T) {
	_, inner := decode("tries: 10\nurl: u")
	var p schema.Problems
	var outer struct {
		Config json.RawMessage `yaml:"config"`
	}
	p.DecodeFile("channels.yaml", []byte("config:\n  url: u\n  tries: 10\n"), &outer)
	p.AddError("config", inner)
	p.AddError("kind", errors.New("there is none"))
	want := "invalid configuration: channels.yaml:1: kind: there is none; channels.yaml:3: config.tries: 10 is outside 1..9"
	if err := p.Err(); err == nil || err.Error() != want {
		t.Fatalf("got  %v\nwant %s", err, want)
	}
}

func TestManyProblemsAreCounted(t *testing.T) {
	var text strings.Builder
	text.WriteString("url: u\ncounts:\n")
	for i := range 250 {
		text.WriteString("  n" + strings.Repeat("x", i) + ": -1\n")
	}
	_, err := decode(text.String())
	if err == nil || !strings.HasSuffix(err.Error(), "; and 150 more") {
		t.Fatalf("%.300v", err)
	}
}

func TestNear(t *testing.T) {
	names := []string{"max_attempts", "max_backoff", "initial_backoff", "timeout", "key", "url"}
	for name, want := range map[string]string{
		"max_atempts": "max_attempts", "max_attempt": "max_attempts", "Timeout": "timeout", "timeuot": "timeout", "timeout_seconds": "timeout",
		"ulr": "url", "uri": "url", "colour": "", "k": "", strings.Repeat("x", 1000): "",
	} {
		if got := schema.Near(name, names); got != want {
			t.Errorf("%.40s: %q, want %q", name, got, want)
		}
	}
}

func TestLint(t *testing.T) {
	for _, problem := range schema.For[config]().Lint() {
		if !strings.HasPrefix(problem, "names: it is in no group") {
			t.Error(problem)
		}
	}
	type bad struct {
		NoDoc   string `yaml:"no_doc" example:"x" group:"g"`
		NoText  string `yaml:"no_text" doc:"It is a text of a few words." group:"g"`
		NoGroup string `yaml:"no_group" doc:"It is a text of a few words." example:"x"`
		Default int    `yaml:"default" doc:"It is a text of a few words." default:"0" min:"1" group:"g"`
		Example int    `yaml:"example" doc:"It is a text of a few words." example:"x" group:"g"`
		Bool    bool   `yaml:"bool" doc:"It is a text of a few words." default:"true" group:"g"`
	}
	got := strings.Join(schema.For[bad]().Lint(), "\n")
	for _, want := range []string{"no_doc: its doc", "no_text: it has neither", "no_group: it is in no group", "default: its default", "example: its example", "bool: a default"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is missing in:\n%s", want, got)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add("url: u\nmode: table\ncolumns: [{name: a}]")
	f.Add(`{"url":"u","any":{"a":[1,2.5,null,true]}}`)
	f.Add("url: &u u\nbasic: &b {user: *u}\ndelete: {<<: [*b]}\nfree: *b")
	f.Add("a: &a [*a]\n? [x]\n: y\n---\n")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := decode(text)
		if err == nil {
			var p schema.Problems
			if p.Check(c); p.Err() != nil {
				t.Fatalf("good once and bad again: %v", p.Err())
			}
			if len(c.Free) > 0 && !json.Valid(c.Free) {
				t.Fatalf("not JSON: %s", c.Free)
			}
			return
		}
		var e *schema.Error
		if !errors.As(err, &e) || strings.Contains(err.Error(), "yaml:") {
			t.Fatalf("%v", err)
		}
	})
}
