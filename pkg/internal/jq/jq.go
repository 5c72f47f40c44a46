// Package jq runs the jq expressions of configurations: what a channel filters
// and maps by, columns of a table, rules about answers. All of them run within
// the same bounds.
//
// An expression sees its input and the variables it is given, nothing else:
// neither the environment nor files, modules or further input. A Program bounds
// how long it runs, how many steps it takes, what each of them may do and how large
// a value gets, so that a mistake in an expression, or an attack, ends in an error
// and not in a worker without memory. Steps and sizes do not depend on how busy the
// machine is.
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

	maxTime   = 5 * time.Second // far more than maxSteps take on a machine that is not busy
	maxSteps  = 1_000_000
	maxValue  = 16 << 20  // of one value, in bytes
	maxMade   = 256 << 20 // of what operators and texts make in one run, in bytes
	maxLive   = 128 << 20 // by which the heap may grow during a slow run, in bytes
	maxDepth  = 10_000
	maxIndex  = 1 << 20  // into a list
	maxDigits = 1000     // of a number: those that are longer cost the square of them
	maxValues = 1 << 20  // of an input, less than which maxValue has room for
	maxRegexp = 4 << 10  // of a regular expression, in bytes
	maxSearch = 32 << 20 // of a text times the instructions of what is searched in it
	maxFound  = 100_000  // of matches in one text
	maxBrief  = 1 << 10  // of the form of a time, in bytes

	// mostSought is how large a list may be that an index looks for, in bytes.
	mostSought = 1 << 10
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
	// ErrCostly says that the run took too much time or memory. On a busy machine
	// that need not be the expression's fault.
	ErrCostly = errors.New("it takes too much time or memory")
)

// A Program is a compiled expression. It is safe for concurrent use.
type Program struct {
	code *gojq.Code
	text string
	slow chan struct{} // what its slow runs hold
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
	return &Program{code: code, text: expression, slow: make(chan struct{}, programSlots())}, nil
}

// String returns the beginning of the expression in one line, for messages.
func (p *Program) String() string { return clip(p.text, 120) }

// Run returns the first results of the expression, at most so many. The values
// are those of the variables, in the order of Compile. The error is that of ctx
// if it has ended, else one of this package's.
func (p *Program) Run(ctx context.Context, most int, input any, values ...any) (results []any, err error) {
	m := newMeter(ctx, p.slow)
	defer m.close()
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
			return nil, errLarge
		}
		results = append(results, value)
	}
	return results, nil
}

// errLarge says that a value is too large.
var errLarge = fmt.Errorf("%w: a value is larger than %d bytes", ErrBounds, maxValue)

func (p *Program) failed(ctx context.Context, m *meter, failure error) error {
	var ended *gojq.HaltError
	switch {
	case m.over != nil:
		return m.over
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.As(failure, &ended):
		return errLarge
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
	if len(data) > maxDigits {
		if err := check(data); err != nil {
			return nil, err
		}
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

// check looks for what a JSON document of this length does not show: how many
// values it has, each of which takes many times its text, and how long its numbers
// are. It is asked before the document is decoded, and sees no other faults.
func check(data []byte) error {
	inText, digits, values := false, 0, 0
	for i := 0; i < len(data); i++ {
		switch c := data[i]; {
		case inText:
			switch c {
			case '\\':
				i++
			case '"':
				inText = false
			}
		case c >= '0' && c <= '9' || c == '.' || c == 'e' || c == 'E' || c == '+' || c == '-':
			if digits++; digits > maxDigits {
				return fmt.Errorf("%w: a number has more than %d digits", ErrInput, maxDigits)
			}
		default:
			digits = 0
			switch c {
			case '"':
				inText = true
			case ',', '[', '{':
				if values++; values > maxValues {
					return fmt.Errorf("%w: it has more than %d values", ErrInput, maxValues)
				}
			}
		}
	}
	return nil
}
