package telemetry

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/hms-utl/extsync/internal/broker"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// PublisherMetrics are the metrics of a process that publishes.
type PublisherMetrics struct {
	published *prometheus.CounterVec
	refused   *prometheus.CounterVec
	conflicts *prometheus.CounterVec
	took      *prometheus.HistogramVec
	tokens    *prometheus.CounterVec
}

// NewPublisherMetrics registers the metrics.
func NewPublisherMetrics(reg *prometheus.Registry) *PublisherMetrics {
	m := &PublisherMetrics{
		published: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "extsync_updates_published_total",
			Help: "Updates that the broker has: stored now, or there before (duplicate). The channel of a topic's updates is topics/TOPIC.",
		}, []string{channelLabel, "receipt"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "extsync_publishes_refused_total",
			Help: "Updates that were not stored, by reason. Without channel where the channel is not known.",
		}, []string{channelLabel, "reason"}),
		conflicts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "extsync_version_conflicts_total",
			Help: "Same version with other content: found when it was published, or at the target.",
		}, []string{channelLabel}),
		took: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "extsync_publish_duration_seconds", Buckets: callBuckets(),
			Help: "How long it took to publish an update, refused ones too.",
		}, []string{channelLabel}),
		tokens: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "extsync_tokens_refused_total",
			Help: "Requests to the HTTP API that had no token that would do, by reason.",
		}, []string{"reason"}),
	}
	reg.MustRegister(m.published, m.refused, m.conflicts, m.took, m.tokens)
	return m
}

// Published counts one publish.
func (m *PublisherMetrics) Published(channel string, r events.Receipt, err error, took time.Duration) {
	if err == nil {
		receipt := "stored"
		if r.Duplicate {
			receipt = "duplicate"
		}
		m.published.WithLabelValues(channel, receipt).Inc()
		m.took.WithLabelValues(channel).Observe(took.Seconds())
		return
	}
	reason, known := refusal(err)
	if !known { // a name that anybody may make up is no label
		channel = ""
	}
	m.refused.WithLabelValues(channel, reason).Inc()
	m.took.WithLabelValues(channel).Observe(took.Seconds())
	if reason == "conflict" {
		m.conflicts.WithLabelValues(channel).Inc()
	}
}

// TokenRefused counts a request without a token that would do.
func (m *PublisherMetrics) TokenRefused(reason string) { m.tokens.WithLabelValues(reason).Inc() }

// refusal names the reason of an error of Publish, and whether it proves that
// there is such a channel.
func refusal(err error) (reason string, known bool) {
	for _, r := range []struct {
		err   error
		name  string
		known bool
	}{
		{events.ErrInvalidUpdate, "invalid", false},
		{events.ErrUnknownChannel, "unknown_channel", false},
		{events.ErrUnknownTopic, "unknown_topic", false},
		{events.ErrReadsTopic, "reads_topic", true},
		{events.ErrChannelDeleted, "channel_deleted", true},
		{events.ErrStale, "stale", true},
		{events.ErrConflict, "conflict", true},
		{events.ErrTooLarge, "too_large", false},
		{events.ErrFull, "full", true},
		{events.ErrBrokerFull, "broker_full", true},
		{events.ErrBusy, "busy", true},
		{broker.ErrRefused, "permission", false},
		{events.ErrUnavailable, "unavailable", false},
	} {
		if errors.Is(err, r.err) {
			return r.name, r.known
		}
	}
	return "other", false
}

// Publishing is what there is to measure: an *publish.Publisher, or what wraps one.
type Publishing interface {
	Publish(ctx context.Context, u events.Update) (events.Receipt, error)
	Request(ctx context.Context, u events.Update) (events.Receipt, events.Ack, error)
	RequestTopic(ctx context.Context, u events.Update, channels []string) (events.Receipt, []events.Ack, error)
	Outcome(ctx context.Context, channel, key string, tag versioning.Tag) (events.Ack, error)
}

// A Publisher is one that is measured and traced.
type Publisher struct {
	Publishing
	metrics *PublisherMetrics
	tracing *Tracing
}

// NewPublisher wraps a publisher. Its other methods are as they were.
func NewPublisher(p Publishing, m *PublisherMetrics, t *Tracing) *Publisher {
	return &Publisher{Publishing: p, metrics: m, tracing: t}
}

// Publish is publish.Publisher.Publish. The update travels in the trace of ctx, if
// there is one.
func (p *Publisher) Publish(ctx context.Context, u events.Update) (events.Receipt, error) {
	ctx, end := p.tracing.Publishing(ctx, &u)
	started := time.Now()
	r, err := p.Publishing.Publish(ctx, u)
	p.metrics.Published(u.Route().ID(), r, err, time.Since(started))
	end(err)
	return r, err
}

// RequestTopic is publish.Publisher.RequestTopic, measured up to the last ack.
func (p *Publisher) RequestTopic(ctx context.Context, u events.Update, channels []string) (events.Receipt, []events.Ack, error) {
	ctx, end := p.tracing.Publishing(ctx, &u)
	started := time.Now()
	r, acks, err := p.Publishing.RequestTopic(ctx, u, channels)
	stored := err
	if r.Key != "" { // what is missing are acks
		stored = nil
	}
	p.metrics.Published(u.Route().ID(), r, stored, time.Since(started))
	end(err)
	return r, acks, err
}

// Request is publish.Publisher.Request, measured up to the ack.
func (p *Publisher) Request(ctx context.Context, u events.Update) (events.Receipt, events.Ack, error) {
	ctx, end := p.tracing.Publishing(ctx, &u)
	started := time.Now()
	r, ack, err := p.Publishing.Request(ctx, u)
	stored := err
	if r.Key != "" { // what is missing is the ack
		stored = nil
	}
	p.metrics.Published(u.Channel, r, stored, time.Since(started))
	end(err)
	return r, ack, err
}
