// Package transform filters and maps the updates of a channel before its
// connector sees them, by jq expressions of the channel's configuration.
//
// Both expressions take the payload, a JSON document, as their input, and see
// the update's attributes as variables: $channel, $key, $version (a number, or a
// text if it is a time), $base (null if there is none), $id, $source, $type and
// $time (null if it is not known). They see nothing else, and are bounded in
// time, steps, memory and the size of values. Numbers keep all of their digits, up to 1,000.
//
// The filter says whether an update is sent: it is not if the filter gives
// false, null or nothing. The mapping gives the payload that is sent. Neither is
// asked about a delete, which has no payload: it is always sent, or an entity
// that once passed the filter could never be removed.
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
	"github.com/hms-utl/extsync/pkg/versioning"
)

// Codes of updates that end before the connector sees them. That of an update
// that does not pass the filter is events.CodeFiltered.
const (
	CodeFilter  = "filter_failed"
	CodeMapping = "mapping_failed"
	// CodeWaits is of an update whose expressions were not asked, because those of
	// others in the same call took its time.
	CodeWaits = "expression_waits"
)

// mostMapped bounds a mapped payload, in bytes.
const mostMapped = 16 << 20

// A Transform is a compiled filter and mapping. It is safe for concurrent use.
type Transform struct {
	filter, mapping *jq.Program // nil: none
}

func variables() []string {
	return []string{"$channel", "$key", "$version", "$base", "$id", "$source", "$type", "$time"}
}

// Check adds what is wrong with the expressions of a channel. An empty one is
// none.
func Check(p *connectors.Problems, filter, mapping string) {
	for _, e := range []struct{ path, text string }{{"filter", filter}, {"mapping", mapping}} {
		if _, err := compile(e.text); err != nil {
			p.Add(e.path, "%v", err)
		}
	}
}

// New compiles the expressions of a channel. An empty one is none. The error is
// that of Check.
func New(filter, mapping string) (*Transform, error) {
	var p connectors.Problems
	Check(&p, filter, mapping)
	if err := p.Err(); err != nil {
		return nil, err
	}
	f, err := compile(filter)
	m, err2 := compile(mapping)
	return &Transform{filter: f, mapping: m}, errors.Join(err, err2)
}

func compile(expression string) (*jq.Program, error) {
	if expression == "" {
		return nil, nil
	}
	return jq.Compile(expression, variables()...)
}

// Apply returns the attempt as the connector shall get it. If it shall not get
// it, send is false and the result says why: Code events.CodeFiltered with class
// OK, or a failure. Its error shows the expression, and nothing of the payload.
func (t *Transform) Apply(ctx context.Context, a connectors.Attempt) (out connectors.Attempt, send bool, res connectors.Result) {
	if t.filter == nil && t.mapping == nil || a.Op == events.Delete {
		return a, true, connectors.Result{}
	}
	code := CodeFilter
	if t.filter == nil {
		code = CodeMapping
	}
	if !events.IsJSON(a.ContentType) {
		return a, false, connectors.Unasked(code,
			fmt.Errorf("filter and mapping need a JSON payload, and the content type is %.100q", a.ContentType))
	}
	document, err := jq.Decode(a.Payload)
	if err != nil {
		return a, false, connectors.Unasked(code, fmt.Errorf("payload: %w", err))
	}
	values := attributes(&a)
	if t.filter != nil {
		switch passes, err := filter(ctx, t.filter, document, values); {
		case err != nil:
			return a, false, failed(ctx, CodeFilter, t.filter, err)
		case !passes:
			return a, false, connectors.Result{Class: connectors.OK, Code: events.CodeFiltered}
		}
	}
	if t.mapping != nil {
		if a.Payload, err = mapped(ctx, t.mapping, document, values); err != nil {
			return a, false, failed(ctx, CodeMapping, t.mapping, err)
		}
		a.ContentType = events.DefaultContentType
	}
	return a, true, connectors.Result{}
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

// failed is the result of an expression that failed. One that takes too much may
// have met a busy machine, so it is tried again, and spends attempts; a call that
// has ended says nothing of the update (guarantee 6); all else fails every time.
func failed(ctx context.Context, code string, p *jq.Program, err error) connectors.Result {
	err = fmt.Errorf("%s: %s: %w", code, p, err)
	switch {
	case errors.Is(err, jq.ErrCostly):
		return connectors.Result{Class: connectors.Transient, Code: code, Err: err, Unasked: true}
	case ctx.Err() != nil:
		return connectors.Failed(connectors.Transient, "timeout", err)
	default:
		return connectors.Unasked(code, err)
	}
}

// attributes are the values of variables, in their order.
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
