package tryout

import (
	"context"
	"errors"
	"fmt"

	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/events"
)

// ErrNoSamples says that nothing can be said of sample answers.
var ErrNoSamples = errors.New("answers of this kind of target cannot be given as a sample")

// An AnswerReport tells what a sample of a target's answer would mean.
type AnswerReport struct {
	Channel string                `json:"channel"`
	Op      events.Op             `json:"op"`
	Rules   []connectors.RuleLook `json:"rules"`
	// Decides names the rule that decides; it is empty where none does, and the kind's own
	// table decides.
	Decides string `json:"decides,omitempty"`
	Result  Answer `json:"result"`
}

// Explain holds the rules of a channel against a sample answer to an attempt. It reads no
// secret and calls nobody.
func Explain(ctx context.Context, catalog *connectors.Catalog, cfg channels.Config, a connectors.Attempt, sample []byte) (*AnswerReport, error) {
	kind, err := catalog.Kind(cfg.Connector.Kind)
	if err != nil {
		return nil, err
	}
	if kind.Explain == nil {
		return nil, fmt.Errorf("%w: channel %s is of kind %s", ErrNoSamples, cfg.Name, kind.Name)
	}
	ctx, cancel := context.WithTimeout(ctx, cfg.Timeout.D())
	defer cancel()
	got, err := kind.Explain(ctx, cfg.Connector.Config, a, sample)
	if err != nil {
		return nil, err
	}
	report := &AnswerReport{Channel: cfg.Name, Op: a.Op, Rules: got.Rules, Result: *answerOf(&got.Result)}
	for _, rule := range got.Rules {
		if rule.Decides {
			report.Decides = rule.Name
		}
	}
	return report, nil
}

// answerOf returns what people are told of a result.
func answerOf(res *connectors.Result) *Answer {
	out := &Answer{Class: res.Class.String(), Code: res.Code, Held: res.Held.Version, Response: res.Response}
	if res.RetryAfter > 0 {
		out.RetryAfter = connectors.Duration(res.RetryAfter)
	}
	if res.Err != nil {
		out.Error = res.Err.Error()
	}
	return out
}
