package delivery

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/delivery/internal/lanes"
	"github.com/hms-utl/extsync/pkg/delivery/internal/plain"
	"github.com/hms-utl/extsync/pkg/events"
)

// An update carries the trace of its publisher in its headers. Each attempt is a
// span in it, which the connector hands on to the target, and so is the way from
// the result to the ack. Without a Tracer nothing here costs anything.

// traceOf returns the context in which an update travels: its publisher's, or
// that of its first attempt here.
func traceOf(it *lanes.Item) trace.SpanContext {
	if it.Rim.Trace != nil {
		return *it.Rim.Trace
	}
	return parseTrace(it.Update.TraceParent, it.Update.TraceState)
}

// parseTrace reads a W3C trace context; one that cannot be read is none.
func parseTrace(parent, state string) trace.SpanContext {
	if parent == "" {
		return trace.SpanContext{}
	}
	carrier := propagation.MapCarrier{events.HeaderTraceParent: parent, events.HeaderTraceState: state}
	ctx := propagation.TraceContext{}.Extract(context.Background(), carrier)
	return trace.SpanContextFromContext(ctx)
}

// traceID returns the trace of an update for the log, "" if it has none.
func traceID(it *lanes.Item) string {
	if sc := traceOf(it); sc.HasTraceID() {
		return sc.TraceID().String()
	}
	return ""
}

// startSpans starts a span for each attempt and lets the attempt carry it. It
// returns nil without a Tracer.
func (p *partition) startSpans(ctx context.Context, items []*lanes.Item, attempts []connectors.Attempt) []trace.Span {
	tracer := p.r.stats.tracer
	if tracer == nil {
		return nil
	}
	spans := make([]trace.Span, len(items))
	for i, it := range items {
		parent := traceOf(it)
		ctx := trace.ContextWithRemoteSpanContext(ctx, parent)
		ctx, spans[i] = tracer.Start(ctx, "attempt", trace.WithSpanKind(trace.SpanKindClient),
			trace.WithAttributes(p.spanAttributes(it)...),
			trace.WithAttributes(
				attribute.String("extsync.kind", p.r.entry.Config.Connector.Kind),
				attribute.Int("extsync.attempt", attempts[i].Number),
			))
		own := trace.SpanContextFromContext(ctx)
		if !own.IsValid() {
			continue
		}
		if !parent.IsValid() { // what follows belongs to the same trace
			it.Rim.Trace = &own
		}
		carrier := propagation.MapCarrier{}
		propagation.TraceContext{}.Inject(ctx, carrier)
		attempts[i].TraceParent = carrier[events.HeaderTraceParent]
		attempts[i].TraceState = carrier[events.HeaderTraceState]
	}
	return spans
}

// endSpans ends the spans of a call with its results.
func endSpans(spans []trace.Span, results []connectors.Result) {
	for i, span := range spans {
		res := results[i]
		span.SetAttributes(
			attribute.String("extsync.class", res.Class.String()),
			attribute.String("extsync.code", plain.Text(res.Code, 64)),
		)
		if res.Class != connectors.OK {
			span.SetStatus(codes.Error, plain.Message(res))
		}
		span.End()
	}
}

// traceAck adds the span of an outcome: from the decision, over the log, to the
// ack. An update outside any trace gets none.
func (p *partition) traceAck(c *lanes.Commit) {
	parent := traceOf(c.Item)
	if !parent.IsValid() {
		return
	}
	kind, acked := trace.SpanKindInternal, c.Entry.ReplyTo != ""
	if acked {
		kind = trace.SpanKindProducer
	}
	_, span := p.r.stats.tracer.Start(trace.ContextWithRemoteSpanContext(context.Background(), parent), "ack",
		trace.WithSpanKind(kind), trace.WithTimestamp(c.Entry.At),
		trace.WithAttributes(p.spanAttributes(c.Item)...),
		trace.WithAttributes(
			attribute.String("extsync.outcome", string(c.Entry.Outcome)),
			attribute.Int("extsync.attempts", c.Entry.Attempts),
			attribute.Bool("extsync.acked", acked),
		))
	span.End(trace.WithTimestamp(time.Now()))
}

func (p *partition) spanAttributes(it *lanes.Item) []attribute.KeyValue {
	return []attribute.KeyValue{
		attribute.String("extsync.channel", p.r.entry.Config.Name),
		attribute.Int("extsync.partition", p.index),
		attribute.String("extsync.key", it.Update.Key),
		attribute.Stringer("extsync.version", it.Tag.Version),
		attribute.String("extsync.id", it.Update.ID),
	}
}
