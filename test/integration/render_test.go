package integration

import (
	"encoding/csv"
	"encoding/xml"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/hms-utl/extsync/internal/cli"
	"github.com/hms-utl/extsync/internal/faults"
)

// A sent is a request that a target got.
type sent struct{ path, content, body string }

// The examples of docs/render.md are followed, and a target reads what it gets strictly.
func TestRenderExamples(t *testing.T) {
	t.Parallel()
	requests := make(chan sent, 10)
	url := target(t, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		requests <- sent{r.URL.Path, r.Header.Get("Content-Type"), string(body)}
		w.WriteHeader(http.StatusNoContent)
	})
	dir := t.TempDir()
	for _, b := range blocks(t, "docs/render.md") {
		switch b.language {
		case "yaml":
			text := regexp.MustCompile(`( +)url: https://partner\.example`).ReplaceAllString(b.text, "${1}allow_cidrs: [127.0.0.0/8]\n${1}url: "+url)
			if err := os.WriteFile(filepath.Join(dir, "channels.yaml"), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		case "sh":
			cmd := exec.CommandContext(t.Context(), "sh", "-euc", b.text)
			cmd.Dir = dir
			cmd.Env = append(faults.AllowHere(), "HOME="+dir, "PATH="+filepath.Dir(binary(t, "extsync"))+string(os.PathListSeparator)+os.Getenv("PATH"))
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%s: %v\n%s", b.at, err, out)
			}
		}
	}
	close(requests)
	got := map[string]sent{}
	for s := range requests {
		got[s.path] = s
	}
	readSOAP(t, got["/soap"])
	readPrices(t, got["/prices/a-1.csv"])
	readEvent(t, got["/calendar/e-1.ics"])
}

func readSOAP(t *testing.T, s sent) {
	t.Helper()
	type person struct {
		ID      string   `xml:"id,attr"`
		Version string   `xml:"version,attr"`
		Name    string   `xml:"urn:example:registry Name"`
		City    string   `xml:"urn:example:registry City"`
		Tags    []string `xml:"urn:example:registry Tag"`
	}
	var envelope struct {
		XMLName xml.Name `xml:"http://schemas.xmlsoap.org/soap/envelope/ Envelope"`
		Person  person   `xml:"Body>PutPerson"`
	}
	err := xml.Unmarshal([]byte(s.body), &envelope)
	want := person{"p-7", "8", `Ann & "Bo" <x>`, "Utrecht", []string{"a", "b"}}
	if err != nil || s.content != "text/xml; charset=utf-8" || !reflect.DeepEqual(envelope.Person, want) {
		t.Errorf("SOAP: %v, %+v\n%+v", err, envelope.Person, s)
	}
}

func readPrices(t *testing.T, s sent) {
	t.Helper()
	records, err := csv.NewReader(strings.NewReader(s.body)).ReadAll()
	want := [][]string{
		{"article", "currency", "amount", "valid_from"},
		{"a-1", "EUR", "12345678901234567.10", "2026-01-01"},
		{"a-1", `a,"b"`, "2", ""},
	}
	if err != nil || s.content != "text/csv; charset=utf-8" || !reflect.DeepEqual(records, want) || strings.Count(s.body, "\r\n") != len(want) {
		t.Errorf("CSV: %v, %q\n%+v", err, records, s)
	}
}

func readEvent(t *testing.T, s sent) {
	t.Helper()
	lines := strings.Split(s.body, "\r\n")
	tooLong := func(line string) bool { return len(line) > 75 || strings.ContainsAny(line, "\r\n") }
	if slices.ContainsFunc(lines, tooLong) || s.content != "text/calendar; charset=utf-8" {
		t.Errorf("iCalendar: %+v", s)
	}
	whole := strings.Split(strings.ReplaceAll(s.body, "\r\n ", ""), "\r\n")
	for _, want := range []string{
		"BEGIN:VEVENT", "UID:e-1", "SEQUENCE:5", `SUMMARY:Review\; bring: notes\, pens\nand the very long list of questions that nobody had time for`, "END:VCALENDAR",
	} {
		if !slices.Contains(whole, want) {
			t.Errorf("iCalendar: %q is missing in %q", want, s.body)
		}
	}
}

// What is wrong with a template is said, with its line, before the channel is stored; and a
// table of JSON gets no other form.
func TestRenderIsCheckedWhenApplied(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "channels.yaml")
	for _, c := range []struct {
		render, connector string
		says              []string // none: it is taken
	}{
		{"{format: xml, template: \"<a>\\n{{printf .x}}</a>\"}", "http", []string{"render.template", "line 2", `"printf" not defined`}},
		{"{format: csv, template: \"a\\n'{{.x}}'\"}", "http", []string{"render.template", "line 2", "whole field"}},
		{"{format: xml}", "http", []string{"render.template", "needs one"}},
		{"{format: csv, colums: [a]}", "http", []string{"colums"}},
		{"{format: csv}", "sql", []string{"render.format", "takes JSON only"}},
		{"{format: json}", "sql", nil},
		{"{format: csv}", "text", nil},
	} {
		connector := map[string]string{
			"http": "{kind: http, config: {url: 'https://a.example'}}",
			"sql":  "{kind: sql, config: {dialect: sqlite, dsn: /tmp/a.db}}",
			"text": "{kind: sql, config: {dialect: sqlite, dsn: /tmp/a.db, content: text}}",
		}[c.connector]
		text := "channels: [{name: a, render: " + c.render + ", connector: " + connector + "}]"
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		try := extsync("channels", "test", "a", "-f", file, "--data", `[{"x":1}]`, "--json")
		if c.says == nil {
			var doc testDoc
			if try.decode(t, &doc); doc.Decision != "send" || doc.ContentType == "" {
				t.Errorf("%s: %+v", text, doc)
			}
			continue
		}
		refused(t, try, cli.ExitUsage, c.says...)
		refused(t, extsync("channels", "apply", "-f", file), cli.ExitUsage, c.says...)
	}
}
