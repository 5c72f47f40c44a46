package render

import (
	"fmt"
	"mime"
	"strings"
	"unicode/utf8"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/events"
)

// A Format is a form that documents are written in.
type Format string

// The formats.
const (
	JSON   Format = "json"
	NDJSON Format = "ndjson"
	CSV    Format = "csv"
	XML    Format = "xml"
	ICS    Format = "ics"
	Form   Format = "form"
	Text   Format = "text"
)

// Config says how a channel's documents are written.
type Config struct {
	// Format is json, ndjson, csv, xml, ics, form or text. Required.
	Format Format `yaml:"format" json:"format" required:"true" enum:"json,ndjson,csv,xml,ics,form,text" doc:"The form of the document. Each format escapes the values in its own way."`
	// Template is a template of Go's text/template, up to 64 KiB. Formats xml and ics
	// need one; without one, the others are written as the package says.
	Template string `yaml:"template,omitempty" json:"template,omitempty" max:"65536" format:"template" example:"{{.id}},{{.name}}" doc:"A template of Go's text/template; docs/render.md lists its functions. Formats xml and ics need one. An update for which it fails is a dead letter."`
	// ContentType is the media type of what is sent. Defaults to that of the format.
	ContentType string `yaml:"content_type,omitempty" json:"content_type,omitempty" max:"256" example:"text/csv; header=present" doc:"The media type of the document. Defaults to that of the format. Targets refuse types that they do not expect, often with 415."`
	// Columns are those of a csv without a template, in their order, up to 1000. Defaults
	// to all names of the document, sorted.
	Columns []string `yaml:"columns,omitempty" json:"columns,omitempty" when:"format=csv" max:"1000" example:"[id, name]" doc:"The columns of a csv without a template, in their order. Defaults to all names of the document, sorted, so that one more name moves the columns behind it."`
}

// maxTemplate is that of Config.Template, in bytes.
const maxTemplate = 64 << 10

// Check adds what is wrong with a configuration. nil is none.
func (c *Config) Check(p *connectors.Problems) {
	if c == nil {
		return
	}
	p.CheckAt("render", c)
	f, known := formats()[c.Format]
	if !known {
		return // said already
	}
	if c.Template != "" && len(c.Template) <= maxTemplate {
		if !utf8.ValidString(c.Template) {
			p.Add("render.template", "it is not valid UTF-8")
		} else if _, err := parseTemplate(c.Template, f, Variables()); err != nil {
			p.Add("render.template", "%v", err)
		}
	} else if c.Template == "" && f.natural == nil {
		p.Add("render.template", "it is missing, and format %s needs one", c.Format)
	}
	if problem := checkContentType(c.ContentType); problem != "" {
		p.Add("render.content_type", "%s", problem)
	} else if c.Format == JSON && !events.IsJSON(c.ContentType) {
		p.Add("render.content_type", "it is not one of JSON")
	}
	c.checkColumns(p)
}

func checkContentType(text string) string {
	if text == "" {
		return ""
	}
	_, _, err := mime.ParseMediaType(text)
	if err != nil || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' }) {
		return fmt.Sprintf("%q is not a media type", text)
	}
	return ""
}

func (c *Config) checkColumns(p *connectors.Problems) {
	if len(c.Columns) > 0 && c.Format == CSV && c.Template != "" {
		p.Add("render.columns", "they are for a csv without a template")
	}
	seen := map[string]bool{}
	for _, name := range c.Columns {
		if seen[name] {
			p.Add("render.columns", "%.100q is there twice", name)
		}
		seen[name] = true
		if !utf8.ValidString(name) {
			p.Add("render.columns", "%.100q is not valid UTF-8", name)
		}
	}
}

// Type returns the media type of what is sent.
func (c *Config) Type() string {
	if c.ContentType != "" {
		return c.ContentType
	}
	return formats()[c.Format].contentType
}
