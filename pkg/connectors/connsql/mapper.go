package connsql

import (
	"context"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/internal/jq"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// mappingTimeout bounds all expressions of one update together.
const mappingTimeout = 5 * time.Second

// codeMapping is the code of columns whose expressions take too much.
const codeMapping = "mapping_failed"

// codeWaits is the code of an update whose columns were not asked for.
const codeWaits = "expression_waits"

// errPayload says that a payload cannot become a row. It shows nothing of the
// payload.
var errPayload = errors.New("payload")

// A misfit says that a column, as the catalog describes it, cannot hold what a payload says.
// It is an errPayload.
type misfit struct{ column, text string }

func (m *misfit) Error() string { return errPayload.Error() + ": " + m.text }

func (m *misfit) Unwrap() error { return errPayload }

// A mapper turns attempts into rows. It is safe for concurrent use.
type mapper struct {
	content string // type of the one column, "" in the mode table
	fields  []field
}

// A field is one column of the mode table.
type field struct {
	Column
	program *jq.Program
}

func newMapper(c Config) (*mapper, error) {
	if c.Mode != tableMode {
		return &mapper{content: c.Content}, nil
	}
	m := &mapper{}
	for _, col := range c.Columns {
		col = col.withDefaults()
		program, err := jq.Compile(col.JQ)
		if err != nil {
			return nil, fmt.Errorf("column %s: %w", col.Name, err)
		}
		m.fields = append(m.fields, field{Column: col, program: program})
	}
	return m, nil
}

// width is how many values a row has.
func (m *mapper) width() int {
	if m.content != "" {
		return 1
	}
	return len(m.fields)
}

// row returns what an attempt writes. values is room for its values, all nil.
// The error wraps errPayload, or says that ctx has ended.
func (m *mapper) row(ctx context.Context, made *plan, a *connectors.Attempt, values []any) (row, error) {
	r := row{key: a.Key, tag: versioning.Tag{Version: a.Version, Digest: a.Digest}, op: a.Op, values: values}
	if r.op == "" {
		r.op = events.Upsert
	}
	var err error
	switch {
	case r.op == events.Delete:
	case m.content == "":
		err = m.fieldValues(ctx, made, a.Payload, values)
	default:
		if values[0], err = contentValue(m.content, a.Payload); err == nil {
			values[0], err = made.content(values[0])
		}
	}
	return r, err
}

func contentValue(typ string, payload []byte) (any, error) {
	switch typ {
	case bytesType:
		return payload, nil
	case textType:
		if !utf8.Valid(payload) {
			return nil, fmt.Errorf("%w: it is not valid UTF-8", errPayload)
		}
	case jsonType:
		if err := events.CheckJSON(payload); err != nil {
			return nil, fmt.Errorf("%w: %w", errPayload, err)
		}
	}
	return string(payload), nil
}

func (m *mapper) fieldValues(ctx context.Context, made *plan, payload []byte, values []any) error {
	document, err := jq.Decode(payload)
	if err != nil {
		return fmt.Errorf("%w: %w", errPayload, err)
	}
	ctx, cancel := context.WithTimeout(ctx, mappingTimeout)
	defer cancel()
	for i, f := range m.fields {
		if values[i], err = f.value(ctx, document, made.fits[i]); err != nil {
			return err
		}
	}
	return nil
}

// value evaluates the field's expression.
func (f field) value(ctx context.Context, document any, fit converter) (any, error) {
	results, err := f.program.Run(ctx, 2, document)
	switch {
	case errors.Is(err, jq.ErrFails):
		return nil, f.problem("fails for this payload")
	case errors.Is(err, jq.ErrBounds):
		return nil, f.problem("is given up: " + err.Error())
	case err != nil:
		return nil, fmt.Errorf("column %s: %s did not end within %v: %w", f.Name, f.program, mappingTimeout, err)
	case len(results) == 0:
		return nil, f.problem("gives no value; null would be NULL")
	case len(results) > 1:
		return nil, f.problem("gives more than one value")
	case results[0] == nil:
		return nil, nil
	}
	v, err := fit(results[0])
	if err != nil {
		return nil, &misfit{f.Name, fmt.Sprintf("column %s: %s %v", f.Name, f.program, err)}
	}
	return v, nil
}

func (f field) problem(what string) error {
	return fmt.Errorf("%w: column %s: %s %s", errPayload, f.Name, f.program, what)
}

// judge classifies an error of row.
func (m *mapper) judge(err error) verdict {
	switch {
	case errors.Is(err, errKey):
		return verdict{class: connectors.Permanent, code: codeKey, text: err.Error()}
	case errors.Is(err, errPayload):
		return verdict{class: connectors.Permanent, code: "payload", text: err.Error()}
	}
	// A call that has ended is seen before this.
	return verdict{class: connectors.Transient, code: codeMapping, text: err.Error()}
}
