package connhttp

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/itchyny/gojq"

	"github.com/hms-utl/extsync/pkg/versioning"
)

// ruleTimeout bounds the evaluation of one rule.
const ruleTimeout = time.Second

// errRule says that a rule could not be evaluated on an answer. What jq says of
// it is left out: it can repeat the answer.
var errRule = errors.New("the answer does not fit the rule")

// A rule is a compiled jq expression over the body of an answer. nil is no rule.
// It is safe for concurrent use.
type rule struct{ code *gojq.Code }

// compileRule compiles an expression; "" gives nil.
func compileRule(text string) (*rule, error) {
	if text == "" {
		return nil, nil
	}
	query, err := gojq.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("not a jq expression: %w", err)
	}
	// Without an environment loader and a module loader an expression sees nothing
	// but the answer.
	code, err := gojq.Compile(query)
	if err != nil {
		return nil, fmt.Errorf("not a jq expression: %w", err)
	}
	return &rule{code: code}, nil
}

// eval returns the first result of the rule over a JSON body; an empty body is
// null.
func (r *rule) eval(ctx context.Context, body []byte) (any, error) {
	var input any
	if len(bytes.TrimSpace(body)) > 0 {
		dec := json.NewDecoder(bytes.NewReader(body))
		dec.UseNumber() // a version above 2^53 stays exact
		if err := dec.Decode(&input); err != nil {
			return nil, fmt.Errorf("%w: it is not JSON, or longer than %d bytes", errRule, maxBody)
		}
		if _, err := dec.Token(); !errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("%w: there is something behind the JSON value", errRule)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, ruleTimeout)
	defer cancel()
	value, ok := r.code.RunWithContext(ctx, input).Next()
	if !ok {
		return nil, fmt.Errorf("%w: it gives no result", errRule)
	}
	if err, failed := value.(error); failed {
		return nil, fmt.Errorf("%w (%T)", errRule, err)
	}
	return value, nil
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
