// Package tryout does with one sample update what a worker would do with it.
package tryout

import (
	"context"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/transform"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// ErrFailed says that a sample update did not get through.
var ErrFailed = errors.New("the sample update fails")

// A Report tells what came of a sample update.
type Report struct {
	Channel string             `json:"channel"`
	Key     string             `json:"key"`
	Version versioning.Version `json:"version"`
	Op      events.Op          `json:"op"`
	// Decision is send, filtered, or failed when filter, mapping or preview fail.
	Decision string `json:"decision" enum:"send,filtered,failed"`
	// Removes: what is filtered is deleted where the target holds the key.
	Removes bool            `json:"removes,omitempty"`
	Error   *events.Failure `json:"error,omitempty"`
	// Payload is what the connector gets: mapped and rendered.
	Payload     string              `json:"payload,omitempty"`
	ContentType string              `json:"content_type,omitempty"` // of Payload
	Preview     *connectors.Preview `json:"preview,omitempty"`
	Body        string              `json:"body,omitempty"` // of the preview's request
	Result      *Answer             `json:"result,omitempty"`
}

// An Answer is what came of an attempt.
type Answer struct {
	Class string             `json:"class"`
	Code  string             `json:"code,omitempty"`
	Error string             `json:"error,omitempty"`
	Held  versioning.Version `json:"held,omitzero"`
	// RetryAfter is how long the target asked to be left alone.
	RetryAfter connectors.Duration `json:"retry_after,omitzero"`
	Response   string              `json:"response,omitempty"`
}

// The decisions.
const (
	Send     = "send"
	Filtered = "filtered"
	Failed   = "failed"
)

// Run does with one attempt what a worker would do, up to the sending unless send
// is set. The report is nil if it could not begin; the error wraps ErrFailed if
// the update does not get through. env is used for sending only: a preview needs no
// secret.
func Run(ctx context.Context, catalog *connectors.Catalog, cfg channels.Config, env connectors.Env, a connectors.Attempt, send bool) (*Report, error) {
	ctx, cancel := context.WithTimeout(ctx, cfg.Timeout.D())
	defer cancel()
	report := &Report{Channel: cfg.Name, Key: a.Key, Version: a.Version, Op: a.Op, Decision: Send}
	tr, err := transform.New(cfg.Transform())
	if err != nil {
		return nil, err
	}
	a, pass, res := tr.Apply(ctx, a)
	switch {
	case !pass && res.Class == connectors.OK:
		report.Decision, report.Removes = Filtered, cfg.OnUnmatch == channels.DeleteUnmatched
		return report, nil
	case !pass:
		report.Decision = Failed
		report.Error = &events.Failure{Class: res.Class.String(), Code: res.Code, Message: res.Err.Error()}
		return report, fmt.Errorf("%w: %w", ErrFailed, res.Err)
	}
	if len(a.Payload) > 0 {
		report.Payload, report.ContentType = readable(a.Payload), a.ContentType
	}
	kind, err := catalog.Kind(cfg.Connector.Kind)
	if err != nil {
		return nil, err
	}
	env.Channel, env.Concurrency, env.Timeout = cfg.Name, 1, cfg.Timeout.D()
	if !send {
		env = env.ForPreview(connectors.Hidden)
	}
	conn, err := connectors.Open(ctx, kind, env, cfg.Connector.Config)
	if err != nil {
		return nil, fmt.Errorf("channel %s: %w", cfg.Name, err)
	}
	err = report.preview(ctx, conn, a)
	if err == nil && send {
		err = report.send(ctx, conn, a)
	}
	// The target has what it got, and the report says so, however this ends.
	_ = conn.Close(context.WithoutCancel(ctx))
	return report, err
}

func (r *Report) preview(ctx context.Context, conn *connectors.Opened, a connectors.Attempt) error {
	if !conn.Can().Previews {
		return nil
	}
	preview, err := conn.Preview(ctx, a)
	if err != nil {
		r.Decision = Failed
		r.Error = &events.Failure{Class: connectors.ClassOf(err).String(), Message: err.Error()}
		return fmt.Errorf("%w: %w", ErrFailed, err)
	}
	r.Preview, r.Body = &preview, readable(preview.Body)
	return nil
}

func (r *Report) send(ctx context.Context, conn *connectors.Opened, a connectors.Attempt) error {
	results := conn.Apply(ctx, []connectors.Attempt{a})
	if len(results) != 1 {
		return fmt.Errorf("%w: the connector gave %d results", ErrFailed, len(results))
	}
	res := results[0]
	r.Result = answerOf(&res)
	if res.Err == nil {
		return nil
	}
	return fmt.Errorf("%w: %s: %w", ErrFailed, res.Class, res.Err)
}

// readable returns a payload as text, or says how long it is.
func readable(payload []byte) string {
	if !utf8.Valid(payload) {
		return fmt.Sprintf("(%d bytes that are not text)", len(payload))
	}
	return string(payload)
}
