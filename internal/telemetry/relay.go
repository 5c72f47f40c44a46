package telemetry

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/hms-utl/extsync/internal/relay"
)

// targetLabel is a channel, or topics/ and the name of a topic.
const targetLabel = "target"

// RelayMetrics are the metrics of a relay. They are its relay.Observer.
type RelayMetrics struct {
	rows   *prometheus.CounterVec
	oldest *prometheus.GaugeVec
	aside  *prometheus.GaugeVec
	held   *prometheus.GaugeVec

	compared   *prometheus.GaugeVec
	comparedAt *prometheus.GaugeVec
}

// NewRelayMetrics registers the metrics. problems says why the relay is not ready.
func NewRelayMetrics(reg *prometheus.Registry, problems func() []string) *RelayMetrics {
	m := &RelayMetrics{
		rows: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "extsync_relay_rows_total",
			Help: "Rows of the outbox, or of the query, that this relay is done with, by what became of them: published, duplicate (the broker had the update), stale (it had a newer one), set_aside.",
		}, []string{targetLabel, "result"}),
		oldest: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "extsync_relay_oldest_seconds",
			Help: "Age of the oldest row that waits, by the database's clock; absent where none waits. Every relay says the same.",
		}, []string{targetLabel}),
		aside: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "extsync_relay_set_aside",
			Help: "Rows of the outbox that were set aside and that nobody has looked after, or rows of the query that are no updates; absent where there are none. Every relay says the same.",
		}, []string{targetLabel}),
		held: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "extsync_relay_held",
			Help: "1 while rows of a target wait, by the reason; absent otherwise.",
		}, []string{targetLabel, "reason"}),
		compared: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "extsync_relay_compared",
			Help: "Rows of the last comparison of the query with the broker, by result: agree, missing, behind, ahead, differs, gone, bad; absent before there was one.",
		}, []string{"result"}),
		comparedAt: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "extsync_relay_compared_timestamp_seconds",
			Help: "When the last comparison ended, in seconds since 1970; absent before there was one.",
		}, nil),
	}
	ready := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "extsync_relay_ready", Help: "1 if /readyz says yes."}, func() float64 {
		if len(problems()) > 0 {
			return 0
		}
		return 1
	})
	reg.MustRegister(m.rows, m.oldest, m.aside, m.held, m.compared, m.comparedAt, ready)
	return m
}

// Relayed counts rows.
func (m *RelayMetrics) Relayed(target string, what relay.Result, n int) {
	m.rows.WithLabelValues(label(target), string(what)).Add(float64(n))
}

// Held shows why rows of a target wait; nil: they do not.
func (m *RelayMetrics) Held(target string, why error) {
	target = label(target)
	m.held.DeletePartialMatch(prometheus.Labels{targetLabel: target})
	if why != nil {
		reason, _ := refusal(why)
		m.held.WithLabelValues(target, reason).Set(1)
	}
}

// Stands shows how the outbox stands.
func (m *RelayMetrics) Stands(standings map[string]relay.Standing) {
	m.oldest.Reset()
	m.aside.Reset()
	for target, s := range standings {
		target = label(target)
		if s.Oldest != 0 {
			m.oldest.WithLabelValues(target).Set(s.Age.Seconds())
		}
		if s.Aside != 0 {
			m.aside.WithLabelValues(target).Set(float64(s.Aside))
		}
	}
}

// Compared shows the counts of a comparison, by result.
func (m *RelayMetrics) Compared(counts map[string]int64) {
	for result, n := range counts {
		m.compared.WithLabelValues(result).Set(float64(n))
	}
	m.comparedAt.WithLabelValues().SetToCurrentTime()
}

// label returns a target, but for one that cannot be: anything may stand in the column.
func label(target string) string {
	if _, err := relay.RouteOf(target); err != nil {
		return ""
	}
	return target
}
