// Package transform filters, maps and renders the updates of a channel before its
// connector sees them, by jq expressions and a template of the channel's configuration.
//
// Both expressions take the payload, a JSON document, as their input, and see
// the update's attributes as variables: $channel, $key, $version (a number, or a
// text if it is a time), $base (null if there is none), $id, $source, $type and
// $time (null if it is not known). They see nothing else, and are bounded in
// time, steps, memory and the size of values. Numbers keep all of their digits, up to 1,000.
//
// The filter says whether an update is sent: it is not if the filter gives
// false, null or nothing. The mapping gives the payload that is sent, and package render
// writes it in another form than JSON. None of them is asked about a delete, which has no
// payload: it is always sent, or an entity that once passed the filter could never be
// removed.
package transform

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/internal/jq"
	"github.com/hms-utl/extsync/pkg/render"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// Codes of updates that end before the connector sees them. That of an update
// that does not pass the filter is events.CodeFiltered.
const (
	CodeFilter  = "filter_failed"
	CodeMapping = "mapping_failed"
	CodeRender  = "render_failed"
	// CodeWaits is of an update that was not looked at, because others in the same call
	// took its time.
	CodeWaits = "expression_waits"
	// CodeRead is of an update that does not pass the filter, while the target could not be
	// asked whether it holds the key.
	CodeRead = "read_failed"
)

// mostMapped bounds a mapped payload, in bytes.
const mostMapped = 16 << 20

// Config is what a channel does to its updates. What is empty is not done.
type Config struct {
	Filter, Mapping string
	Render          *render.Config
	// Removes has a key deleted at the target that holds it, or may, when an update of it
	// does not pass the filter.
	Removes bool
}

func (c Config) empty() bool { return c.Filter == "" && c.Mapping == "" && c.Render == nil }

// Check adds what is wrong with the configuration.
func (c Config) Check(p *connectors.Problems) {
	for _, e := range []struct{ path, text string }{{"filter", c.Filter}, {"mapping", c.Mapping}} {
		if _, err := compile(e.text); err != nil {
			p.Add(e.path, "%v", err)
		}
	}
	c.Render.Check(p)
}

// A Transform is a compiled Config. It is safe for concurrent use.
type Transform struct {
	filter, mapping *jq.Program      // nil: none
	render          *render.Renderer // nil: none
}

// New compiles a configuration. The error is that of Check.
func New(c Config) (*Transform, error) {
	var p connectors.Problems
	if c.Check(&p); p.Err() != nil {
		return nil, p.Err()
	}
	t := &Transform{}
	var errs [3]error
	t.filter, errs[0] = compile(c.Filter)
	t.mapping, errs[1] = compile(c.Mapping)
	if c.Render != nil {
		t.render, errs[2] = render.New(*c.Render)
	}
	return t, errors.Join(errs[:]...)
}

func compile(expression string) (*jq.Program, error) {
	if expression == "" {
		return nil, nil
	}
	return jq.Compile(expression, render.Variables()...)
}

// Apply returns the attempt as the connector shall get it. If it shall not get
// it, send is false and the result says why: Code events.CodeFiltered with class
// OK, or a failure. Its error shows the expression or the place in the template, and
// nothing of the payload.
func (t *Transform) Apply(ctx context.Context, a connectors.Attempt) (out connectors.Attempt, send bool, res connectors.Result) {
	if t.filter == nil && t.mapping == nil && t.render == nil || a.Op == events.Delete {
		return a, true, connectors.Result{}
	}
	code := t.first()
	if !events.IsJSON(a.ContentType) {
		return a, false, connectors.Unasked(code,
			fmt.Errorf("filter, mapping and render need a JSON payload, and the content type is %.100q", a.ContentType))
	}
	values := attributes(&a)
	if t.filter != nil || t.mapping != nil {
		if send, res = t.evaluate(ctx, &a, values); !send {
			return a, false, res
		}
	}
	if t.render != nil {
		var err error
		if a.Payload, err = t.render.Render(ctx, a.Payload, values); err != nil {
			return a, false, failed(ctx, CodeRender, fmt.Errorf("%s: %w", CodeRender, err))
		}
		a.ContentType = t.render.ContentType()
	}
	return a, true, connectors.Result{}
}

// first is the code of the first thing that is done.
func (t *Transform) first() string {
	switch {
	case t.filter != nil:
		return CodeFilter
	case t.mapping != nil:
		return CodeMapping
	}
	return CodeRender
}

// evaluate filters and maps an attempt.
func (t *Transform) evaluate(ctx context.Context, a *connectors.Attempt, values []any) (send bool, res connectors.Result) {
	document, err := jq.Decode(a.Payload)
	if err != nil {
		return false, connectors.Unasked(t.first(), fmt.Errorf("payload: %w", err))
	}
	if t.filter != nil {
		switch passes, err := filter(ctx, t.filter, document, values); {
		case err != nil:
			return false, failed(ctx, CodeFilter, fmt.Errorf("%s: %s: %w", CodeFilter, t.filter, err))
		case !passes:
			return false, connectors.Result{Class: connectors.OK, Code: events.CodeFiltered}
		}
	}
	if t.mapping != nil {
		if a.Payload, err = mapped(ctx, t.mapping, document, values); err != nil {
			return false, failed(ctx, CodeMapping, fmt.Errorf("%s: %s: %w", CodeMapping, t.mapping, err))
		}
		a.ContentType = events.DefaultContentType
	}
	return true, connectors.Result{}
}

// errValues says that an expression does not give what is asked of it.
var errValues = errors.New("it gives")

func filter(ctx context.Context, p *jq.Program, document any, values []any) (bool, error) {
	results, err := p.Run(ctx, 2, document, values...)
	switch {
	case err != nil:
		return false, err
	case len(results) > 1:
		return false, fmt.Errorf("%w more than one value", errValues)
	default:
		return len(results) == 1 && results[0] != nil && results[0] != false, nil
	}
}

func mapped(ctx context.Context, p *jq.Program, document any, values []any) ([]byte, error) {
	results, err := p.Run(ctx, 2, document, values...)
	switch {
	case err != nil:
		return nil, err
	case len(results) == 0:
		return nil, fmt.Errorf("%w no value", errValues)
	case len(results) > 1:
		return nil, fmt.Errorf("%w more than one value", errValues)
	}
	payload, err := jq.Encode(results[0])
	if err == nil && len(payload) > mostMapped {
		err = fmt.Errorf("%w more than %d bytes", errValues, mostMapped)
	}
	return payload, err
}

// failed is the result of an expression or a template that failed. One that takes too
// much may have met a busy machine, so it is tried again, and spends attempts; a call
// that has ended says nothing of the update (guarantee 6); all else fails every time.
func failed(ctx context.Context, code string, err error) connectors.Result {
	switch {
	case errors.Is(err, jq.ErrCostly):
		return connectors.Result{Class: connectors.Transient, Code: code, Err: err, Unasked: true}
	case ctx.Err() != nil:
		return connectors.Failed(connectors.Transient, "timeout", err)
	default:
		return connectors.Unasked(code, err)
	}
}

// attributes are the values of render.Variables, in their order.
func attributes(a *connectors.Attempt) []any {
	var at any
	if !a.Time.IsZero() {
		at = a.Time.UTC().Format(time.RFC3339Nano)
	}
	return []any{a.Channel, a.Key, versionValue(a.Version), versionValue(a.Base), a.ID, a.Source, a.Type, at}
}

func versionValue(v versioning.Version) any {
	if v.IsZero() {
		return nil
	}
	if _, ok := v.Int64(); ok {
		return json.Number(v.String())
	}
	return v.String()
}
