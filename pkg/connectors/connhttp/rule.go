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

// A rule is a compiled jq expression over the body of an answer. nil is no rule.
// It is safe for concurrent use.
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

// eval returns the first result of the rule over a JSON body; an empty body is
// null.
func (r *rule) eval(ctx context.Context, body []byte) (any, error) {
	var input any
	if len(bytes.TrimSpace(body)) > 0 {
		var err error
		if input, err = jq.Decode(body); err != nil {
			return nil, fmt.Errorf("%w: %w, or longer than %d bytes", errRule, err, maxBody)
		}
	}
	results, err := r.program.Run(ctx, 1, input)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: %w", errRule, err)
	case len(results) == 0:
		return nil, fmt.Errorf("%w: it gives no result", errRule)
	default:
		return results[0], nil
	}
}

// holds reports whether the rule gives true.
func (r *rule) holds(ctx context.Context, body []byte) error {
	value, err := r.eval(ctx, body)
	if err != nil {
		return err
	}
	if value != true {
		return fmt.Errorf("%w: it does not give true", errRule)
	}
	return nil
}

// version returns the version that the rule finds, zero if it finds none.
func (r *rule) version(ctx context.Context, body []byte) versioning.Version {
	value, err := r.eval(ctx, body)
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
