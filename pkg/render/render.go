// Package render writes the documents of a channel in the form that its target reads:
// JSON, lines of JSON, CSV, XML, iCalendar, a form or a text.
//
// # Without a template
//
// json is the document without spaces. ndjson is a line for each element of a list, or
// one line. csv is a header and a row for each object of a list, or for one object. form
// is an object of texts, numbers and booleans, and text is one of those.
//
// # With a template
//
// A template is one of Go's text/template over the document. It sees the update's
// attributes as the mapping does: $channel, $key, $version, $base, $id, $source, $type
// and $time. Numbers keep their digits. What is null or missing is nothing (in JSON:
// null).
//
// A plain {{.x}} is escaped for the format, so that no value becomes more than a value.
// Where a value could become more nevertheless the template is refused: in xml outside of
// texts and of attributes in quotes, in csv next to other text of a field, in ics before
// the colon, in json within a text. The functions json, xml, csv, ics and form escape for
// their format; what the template's own one gives is not escaped again. row gives a record
// of CSV. raw gives a value as it is, and the template answers for it.
//
// There are also and, or, not, eq, ne, len, index and slice, and if, with and range.
// Everything else belongs into the mapping: comparisons, arithmetic, forms of numbers.
// Templates do not call each other, and a loop has no break.
//
// # Bounds
//
// Time, steps, memory and the size of values are bounded as those of a mapping are; what
// is written has up to 16 MiB, and is never empty.
package render

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"text/template"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/internal/jq"
)

// MaxOutput bounds what is written, in bytes.
const MaxOutput = 16 << 20

// ErrFails says that a document cannot be written so. It is so every time, and the error
// shows nothing of the document.
var ErrFails = errors.New("it fails")

// Variables are the names of the attributes that a template sees, in the order in which
// Render takes their values.
func Variables() []string {
	return []string{"$channel", "$key", "$version", "$base", "$id", "$source", "$type", "$time"}
}

// A Renderer writes documents. It is safe for concurrent use.
type Renderer struct {
	config Config // with its content type
	format format
	tmpl   *template.Template // nil: none
	slots  jq.Slots
}

// New returns the renderer of a configuration. The error is that of Check.
func New(c Config) (*Renderer, error) {
	var p connectors.Problems
	if c.Check(&p); p.Err() != nil {
		return nil, p.Err()
	}
	c.ContentType = c.Type()
	r := &Renderer{config: c, format: formats()[c.Format], slots: jq.NewSlots()}
	if c.Template == "" {
		return r, nil
	}
	var err error
	r.tmpl, err = parseTemplate(c.Template, r.format, Variables())
	return r, err
}

// ContentType returns the media type of what is written.
func (r *Renderer) ContentType() string { return r.config.ContentType }

// Render writes a JSON document. values are those of Variables. The error wraps ErrFails,
// jq.ErrInput, jq.ErrBounds or jq.ErrCostly, or is that of the context. It shows nothing
// of the document.
func (r *Renderer) Render(ctx context.Context, payload []byte, values []any) (out []byte, err error) {
	document, err := jq.Decode(payload)
	if err != nil {
		return nil, fmt.Errorf("payload: %w", err)
	}
	w := &run{Renderer: r, budget: jq.NewBudget(ctx, r.slots), values: values}
	defer w.budget.Close()
	defer func() {
		if recover() != nil { // the text of a panic could show a value
			out, err = nil, fmt.Errorf("%w: it cannot be evaluated", ErrFails)
		}
	}()
	if r.tmpl == nil {
		err = r.format.natural(w, document, payload)
	} else {
		err = w.execute(document)
	}
	if err == nil && r.format.finish != nil {
		err = r.format.finish(w)
	}
	switch {
	case err != nil:
		return nil, err
	case w.out.Len() == 0:
		return nil, fault("it gives nothing")
	}
	return w.out.Bytes(), nil
}

// A run writes one document.
type run struct {
	*Renderer
	budget jq.Budget
	values []any
	out    bytes.Buffer
}

// Write is called for each text of the template and each value, and with nothing at the
// beginning of each turn of a loop.
func (w *run) Write(p []byte) (int, error) {
	if err := w.budget.Step(); err != nil {
		return 0, err
	}
	return w.write(p)
}

func (w *run) write(p []byte) (int, error) {
	if w.out.Len()+len(p) > MaxOutput {
		return 0, fmt.Errorf("%w: it gives more than %d bytes", jq.ErrBounds, MaxOutput)
	}
	return w.out.Write(p)
}

func (w *run) text(s string) error {
	_, err := w.Write([]byte(s))
	return err
}

func (w *run) execute(document any) error {
	tmpl, err := w.tmpl.Clone()
	if err != nil {
		return fault("it cannot be evaluated")
	}
	return explain(tmpl.Funcs(w.functions()).Execute(w, document))
}

// A fault is a sentence about a document that cannot be written. It shows no value.
func fault(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrFails, fmt.Sprintf(format, args...))
}

// place finds the line and the text of a template in an error of text/template.
var place = regexp.MustCompile(`(?s)^template: ` + templateName + `:(\d+)(?::\d+)?: (?:executing "` + templateName + `" at <(.*?)>: )?(.*)$`)

// explain returns an error of a run with what it says of the template, and without what it
// says of the document.
func explain(err error) error {
	if err == nil {
		return nil
	}
	parts := place.FindStringSubmatch(err.Error())
	if parts == nil {
		if ours(err) {
			return err
		}
		return fault("the template does not fit the document")
	}
	where := "line " + parts[1]
	if at := strings.TrimSpace(parts[2]); at != "" && !strings.HasPrefix(at, "__") {
		where += ", " + at
	}
	var inner *callError
	switch {
	case errors.As(err, &inner):
		return fmt.Errorf("%s: %w", where, inner.error)
	case strings.HasPrefix(parts[3], "can't evaluate field "), strings.HasPrefix(parts[3], "nil pointer evaluating "):
		return fmt.Errorf("%s: %w: it has no fields", where, ErrFails)
	}
	return fmt.Errorf("%s: %w: the template does not fit the document", where, ErrFails)
}

// ours reports whether an error is one of those that Render promises.
func ours(err error) bool {
	for _, known := range []error{ErrFails, jq.ErrBounds, jq.ErrCostly, context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, known) {
			return true
		}
	}
	return false
}

// A callError is the error of one of our functions, to be found in what text/template
// makes of it.
type callError struct{ error }

// Unwrap returns the error.
func (e *callError) Unwrap() error { return e.error }
