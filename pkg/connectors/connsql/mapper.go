package connsql

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
	"unicode/utf8"

	"github.com/itchyny/gojq"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// mappingTimeout bounds all expressions of one update together.
const mappingTimeout = time.Second

// errPayload says that a payload cannot become a row. It shows nothing of the
// payload.
var errPayload = errors.New("payload")

// A mapper turns attempts into rows. It is safe for concurrent use.
type mapper struct {
	content string // type of the one column, "" in the mode table
	fields  []field
}

// A field is one column of the mode table.
type field struct {
	Column
	code    *gojq.Code
	convert converter
}

func newMapper(c Config) (*mapper, error) {
	if c.Mode != tableMode {
		return &mapper{content: c.Content}, nil
	}
	m := &mapper{}
	for _, col := range c.Columns {
		col = col.withDefaults()
		code, err := compile(col.JQ)
		if err != nil {
			return nil, fmt.Errorf("column %s: %w", col.Name, err)
		}
		m.fields = append(m.fields, field{Column: col, code: code, convert: converterOf(col.Type)})
	}
	return m, nil
}

// row returns what an attempt writes. Its error wraps errPayload, or says that
// ctx has ended.
func (m *mapper) row(ctx context.Context, a connectors.Attempt) (row, error) {
	r := row{key: a.Key, tag: versioning.Tag{Version: a.Version, Digest: a.Digest}, op: a.Op}
	if r.op == "" {
		r.op = events.Upsert
	}
	var err error
	switch {
	case m.content == "":
		r.values, err = m.fieldValues(ctx, r.op, a.Payload)
	case r.op == events.Delete:
		r.values = []any{nil}
	default:
		r.values, err = contentValue(m.content, a.Payload)
	}
	return r, err
}

func contentValue(typ string, payload []byte) ([]any, error) {
	switch {
	case typ == bytesType:
		return []any{payload}, nil
	case typ == textType && !utf8.Valid(payload):
		return nil, fmt.Errorf("%w: it is not valid UTF-8", errPayload)
	case typ == jsonType && !json.Valid(payload):
		return nil, fmt.Errorf("%w: it is not valid JSON", errPayload)
	}
	return []any{string(payload)}, nil
}

func (m *mapper) fieldValues(ctx context.Context, op events.Op, payload []byte) ([]any, error) {
	values := make([]any, len(m.fields))
	if op == events.Delete {
		return values, nil
	}
	document, err := decodeExact(payload)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, mappingTimeout)
	defer cancel()
	for i, f := range m.fields {
		if values[i], err = f.value(ctx, document); err != nil {
			return nil, err
		}
	}
	return values, nil
}

// decodeExact reads one JSON document and keeps its numbers as they are written.
func decodeExact(payload []byte) (any, error) {
	dec := json.NewDecoder(bytes.NewReader(payload))
	dec.UseNumber()
	var document any
	if err := dec.Decode(&document); err != nil {
		return nil, fmt.Errorf("%w: it is not valid JSON", errPayload)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%w: it is more than one JSON document", errPayload)
	}
	return document, nil
}

// value evaluates the field's expression. The messages of jq are not passed on:
// they repeat the values that they are about.
func (f field) value(ctx context.Context, document any) (any, error) {
	results := f.code.RunWithContext(ctx, document)
	first, ok := results.Next()
	if !ok {
		return nil, f.problem("gives no value; null would be NULL")
	}
	if err, failed := first.(error); failed {
		if ctx.Err() != nil {
			return nil, f.ended(ctx)
		}
		_ = err // it shows the value
		return nil, f.problem("fails for this payload")
	}
	if _, more := results.Next(); more {
		if ctx.Err() != nil {
			return nil, f.ended(ctx)
		}
		return nil, f.problem("gives more than one value")
	}
	if first == nil {
		return nil, nil
	}
	v, err := f.convert(first)
	if err != nil {
		return nil, f.problem(err.Error())
	}
	return v, nil
}

func (f field) problem(what string) error {
	return fmt.Errorf("%w: column %s: %s %s", errPayload, f.Name, f.JQ, what)
}

// ended tells an expression that ran for too long from a call that has ended.
func (f field) ended(ctx context.Context) error {
	return fmt.Errorf("column %s: %s did not end within %v: %w", f.Name, f.JQ, mappingTimeout, ctx.Err())
}

// judge classifies an error of row.
func (m *mapper) judge(err error) verdict {
	code := "payload"
	if !errors.Is(err, errPayload) {
		code = "mapping-timeout" // a call that has ended is seen before this
	}
	return verdict{class: connectors.Permanent, code: code, text: err.Error()}
}
