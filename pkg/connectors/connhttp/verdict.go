package connhttp

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/internal/jq"
)

// A verdict is what the rules say of an answer.
type verdict struct {
	by    *answerRule // nil: no rule matches
	input any         // of the expressions
	// failed are rules that could not be evaluated, and so do not match.
	failed []error
	// open says why it is not known which rule matches.
	open error
}

// decide returns the first rule that matches an answer.
func (c *connector) decide(ctx context.Context, a *connectors.Attempt, r *reply) (v verdict) {
	if len(c.rules) == 0 {
		return v
	}
	input := r.input(a)
	v.input = input
	for i := range c.rules {
		rule := &c.rules[i]
		if err := r.unfit(rule.readsBody, rule.readsText); err != nil {
			v.open = fmt.Errorf("%s reads the body: %w", rule.name, err)
			return v
		}
		if rule.readsBody && r.status/100 == 2 && r.odd != nil { // it must not pass for delivered
			v.open = fmt.Errorf("%s reads the body: %w", rule.name, r.odd)
			return v
		}
		matches, err := rule.matches(ctx, a, r, input)
		switch {
		case errors.Is(err, jq.ErrCostly) || errors.Is(err, jq.ErrBounds) || err != nil && ctx.Err() != nil:
			// That says nothing of the answer.
			v.failed = append(v.failed, err)
			v.open = fmt.Errorf("%s.when: %w", rule.name, err)
			return v
		case err != nil:
			v.failed = append(v.failed, fmt.Errorf("%s.when: %w", rule.name, err))
		case matches:
			v.by = rule
			return v
		}
	}
	return v
}

// matches reports whether a rule decides about an answer. That nothing is there is what a
// delete asks for: a rule that would say of an upsert what it says of the delete does not
// mean that.
func (r *answerRule) matches(ctx context.Context, a *connectors.Attempt, answer *reply, input map[string]any) (bool, error) {
	matches, err := r.when.holds(ctx, input)
	if err != nil || !matches || a.Op != events.Delete || !absent(answer.status) {
		return matches, err
	}
	input["op"] = string(events.Upsert)
	defer func() { input["op"] = string(events.Delete) }()
	both, err := r.when.holds(ctx, input)
	return !both || err != nil, nil
}

// maxFailures is how many rules that fail are named in one error.
const maxFailures = 3

// String says in an error's text which rule decided, and which could not.
func (v *verdict) String() string {
	var b strings.Builder
	if v.by != nil {
		fmt.Fprintf(&b, "; %s decides", v.by.name)
	}
	for i, err := range v.failed {
		if i == maxFailures {
			fmt.Fprintf(&b, "; %d more rules fail", len(v.failed)-i)
			break
		}
		fmt.Fprintf(&b, "; %v", err)
	}
	return b.String()
}

// codeUnread is the code of an answer that the rules cannot judge, because it is too long
// or in an unknown coding.
const codeUnread = "unread"
