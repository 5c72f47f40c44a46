package connhttp

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/hms-utl/extsync/pkg/internal/jq"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// errRule says that a rule could not be evaluated on an answer.
var errRule = errors.New("the answer does not fit the rule")

// A rule is a compiled jq expression over an answer. nil is no rule. It is safe for
// concurrent use.
type rule struct{ program *jq.Program }

// compileRule compiles an expression; "" gives nil.
func compileRule(text string) (*rule, error) {
	if text == "" {
		return nil, nil
	}
	program, err := jq.Compile(text)
	if err != nil {
		return nil, err
	}
	return &rule{program: program}, nil
}

// eval returns the first result of the rule, null if there is none.
func (r *rule) eval(ctx context.Context, input any) (any, error) {
	results, err := r.program.Run(ctx, 1, input)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: %w", errRule, err)
	case len(results) == 0:
		return nil, nil
	default:
		return results[0], nil
	}
}

// holds reports whether the rule gives a value other than false and null.
func (r *rule) holds(ctx context.Context, input any) (bool, error) {
	value, err := r.eval(ctx, input)
	return err == nil && value != nil && value != false, err
}

// text returns the text, or the number as it is written, that the rule gives; "" if it
// gives something else, or fails.
func (r *rule) text(ctx context.Context, input any) string {
	value, err := r.eval(ctx, input)
	if err != nil {
		return ""
	}
	return textOf(value)
}

// textOf returns a text, or a number as it is written; "" for any other value.
func textOf(value any) string {
	switch value := value.(type) {
	case string:
		return value
	case nil, bool, map[string]any, []any:
		return ""
	default:
		text, err := jq.Encode(value)
		if err != nil {
			return ""
		}
		return string(text)
	}
}

// version returns the version that the rule finds, zero if it finds none.
func (r *rule) version(ctx context.Context, input any) versioning.Version {
	value, err := r.eval(ctx, input)
	if err != nil {
		return versioning.Version{}
	}
	// Numbers and strings are both fine; a float in its shortest form would not be.
	text, err := json.Marshal(value)
	if err != nil {
		return versioning.Version{}
	}
	var v versioning.Version
	if err := v.UnmarshalJSON(text); err != nil {
		return versioning.Version{}
	}
	return v
}

// mark begins some documents in UTF-8; JSON has no place for it.
const mark = "\uFEFF"

// document returns the JSON document in a body, null if it is empty.
func document(body []byte) (any, error) {
	body = bytes.TrimPrefix(body, []byte(mark))
	if len(bytes.TrimSpace(body)) == 0 {
		return nil, nil
	}
	document, err := jq.Decode(body)
	if err != nil {
		return nil, fmt.Errorf("%w: %w, or longer than %d bytes", errRule, err, maxBody)
	}
	return document, nil
}
