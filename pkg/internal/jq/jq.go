// Package jq runs the jq expressions of configurations: what a channel filters
// and maps by, columns of a table, rules about answers. All of them run within
// the same bounds.
//
// An expression sees its input and the variables it is given, nothing else:
// neither the environment nor files, modules or further input. A Program bounds
// how long it runs, how many steps it takes and how large a value gets, so that
// a mistake in an expression ends in an error and not in a worker without
// memory. Steps and sizes do not depend on how busy the machine is.
package jq

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/itchyny/gojq"
)

// The bounds of one run.
const (
	// MaxInput is how long a JSON text may be that is decoded for an expression,
	// in bytes.
	MaxInput = 8 << 20
	// MaxExpression is how long an expression may be, in bytes.
	MaxExpression = 64 << 10

	maxTime  = 5 * time.Second // far more than maxSteps take on a machine that is not busy
	maxSteps = 1_000_000
	maxValue = 16 << 20  // of one value, in bytes
	maxMade  = 256 << 20 // of what + and * make in one run, in bytes
	maxDepth = 10_000
	maxIndex = 1 << 20   // into an array
	maxMatch = 256 << 10 // of a text that a regular expression looks at: it makes hundreds of times as much
)

// What can become of a run. No error shows a value.
var (
	// ErrInput says that a text is not one JSON document, or is too long.
	ErrInput = errors.New("it is not valid JSON")
	// ErrFails says that the expression does not fit its input.
	ErrFails = errors.New("it fails")
	// ErrBounds says that the expression needs too many steps or makes too large
	// a value. It does so every time.
	ErrBounds = errors.New("it exceeds its bounds")
	// ErrTime says that the time was over. On a busy machine it need not be the
	// expression's fault.
	ErrTime = errors.New("it did not end in time")
)

// A Program is a compiled expression. It is safe for concurrent use.
type Program struct {
	code *gojq.Code
	text string
}

// Compile compiles an expression that may use these variables, such as "$key".
func Compile(expression string, variables ...string) (*Program, error) {
	if len(expression) > MaxExpression {
		return nil, fmt.Errorf("not a jq expression: %d bytes are more than %d", len(expression), MaxExpression)
	}
	query, err := gojq.Parse(expression)
	if err != nil {
		return nil, fmt.Errorf("not a jq expression: %w", err)
	}
	if err := bound(query); err != nil {
		return nil, fmt.Errorf("not a jq expression: %w", err)
	}
	code, err := gojq.Compile(query, append(guards(), gojq.WithVariables(append([]string{meterVariable}, variables...)))...)
	if err != nil {
		return nil, fmt.Errorf("not a jq expression: %w", err)
	}
	return &Program{code: code, text: expression}, nil
}

// String returns the beginning of the expression in one line, for messages.
func (p *Program) String() string { return clip(p.text, 120) }

// Run returns the first results of the expression, at most so many. The values
// are those of the variables, in the order of Compile. The error is that of ctx
// if it has ended, else one of this package's.
func (p *Program) Run(ctx context.Context, most int, input any, values ...any) (results []any, err error) {
	limited, cancel := context.WithTimeout(ctx, maxTime)
	defer cancel()
	m := &meter{Context: limited}
	defer func() {
		// An expression can make gojq panic, as with an array of 2^62 elements.
		if recover() != nil {
			results, err = nil, fmt.Errorf("%w: it cannot be evaluated", ErrBounds)
		}
	}()
	iter := p.code.RunWithContext(m, input, append([]any{m}, values...)...)
	for len(results) < most {
		value, ok := iter.Next()
		if !ok {
			return results, nil
		}
		if failure, failed := value.(error); failed {
			return nil, p.failed(ctx, m, failure)
		}
		if !fits(value) {
			return nil, fmt.Errorf("%w: a value is larger than %d bytes", ErrBounds, maxValue)
		}
		results = append(results, value)
	}
	return results, nil
}

func (p *Program) failed(ctx context.Context, m *meter, failure error) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(failure, ErrBounds):
		return failure
	case m.Context.Err() != nil:
		return fmt.Errorf("%w: %v", ErrTime, maxTime)
	}
	return fmt.Errorf("%w: %s", ErrFails, explain(failure))
}

// explain returns what gojq says of a failure, up to where it begins to show
// values. What an expression says by error() is its own: it can be anything.
func explain(failure error) string {
	var own gojq.ValueError
	if errors.As(failure, &own) {
		return "by error or halt"
	}
	text := failure.Error()
	if end := strings.IndexAny(text, `("'@`+"`"); end >= 0 {
		text = text[:end]
	}
	return strings.TrimSpace(clip(text, 80))
}

// clip returns the beginning of a text, in one line.
func clip(text string, most int) string {
	text = strings.Join(strings.Fields(text), " ")
	if len(text) <= most {
		return text
	}
	for most > 0 && !utf8.RuneStart(text[most]) {
		most--
	}
	return text[:most] + "..."
}

// Decode reads one JSON document and keeps its numbers as they are written. Its
// error wraps ErrInput.
func Decode(data []byte) (any, error) {
	if len(data) > MaxInput {
		return nil, fmt.Errorf("%w: %d bytes are more than %d", ErrInput, len(data), MaxInput)
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	var document any
	if err := dec.Decode(&document); err != nil {
		return nil, ErrInput // the cause shows a part of the text
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%w: it is more than one JSON document", ErrInput)
	}
	// The decoder has put U+FFFD for what is no character.
	if !jsontext.Value(data).IsValid(jsontext.AllowDuplicateNames(true)) {
		return nil, fmt.Errorf("%w: it has bytes that are not UTF-8, or half a surrogate pair", ErrInput)
	}
	return document, nil
}

// Encode writes a result of Run as JSON, numbers as they were read.
func Encode(value any) ([]byte, error) {
	data, err := gojq.Marshal(value)
	if err != nil {
		return nil, fmt.Errorf("%w: it gives a value that JSON cannot write", ErrFails)
	}
	return data, nil
}
