package telemetry

import (
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/hms-utl/extsync/pkg/delivery"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/why"
	"github.com/hms-utl/extsync/pkg/workers"
)

const channelLabel = "channel"

// callBuckets suit calls to targets, endToEndBuckets everything from a healthy
// channel to one whose target was down for hours. Seconds.
func callBuckets() []float64 {
	return []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60}
}

func endToEndBuckets() []float64 {
	return []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 14400}
}

// WorkerMetrics are the metrics of a connector-worker. What happens is counted as
// it happens; what is, is read from the worker's memory when it is scraped; what
// only the broker knows is asked for now and then, see Refresh. No label is a key
// or an id.
type WorkerMetrics struct {
	attempts   *prometheus.CounterVec
	ruleErrors *prometheus.CounterVec
	took       *prometheus.HistogramVec
	endToEnd   *prometheus.HistogramVec
	descs      workerDescs

	mu        sync.Mutex
	worker    *delivery.Worker
	health    *WorkerHealth
	connected func() bool
	waiting   map[string]uint64 // at the broker, by channel
	letters   map[string]uint64 // by channel
	refreshed time.Time
}

var _ delivery.Observer = (*WorkerMetrics)(nil)

// NewWorkerMetrics registers the metrics. The worker comes later, by Attach: it
// needs them to be made.
func NewWorkerMetrics(reg *prometheus.Registry) *WorkerMetrics {
	m := &WorkerMetrics{
		attempts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "extsync_delivery_attempts_total",
			Help: "Attempts to bring an update to the target, by what came of them.",
		}, []string{channelLabel, "kind", "class"}),
		took: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "extsync_delivery_duration_seconds", Buckets: callBuckets(),
			Help: "How long the call of an attempt took; a call may carry more than one update.",
		}, []string{channelLabel, "kind"}),
		ruleErrors: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "extsync_answer_rule_errors_total",
			Help: "Rules of a channel that could not be evaluated on an answer, and so did not decide.",
		}, []string{channelLabel}),
		endToEnd: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "extsync_end_to_end_seconds", Buckets: endToEndBuckets(),
			Help: "Time from the broker's receipt of an update to its outcome.",
		}, []string{channelLabel}),
		descs: newWorkerDescs(),
	}
	reg.MustRegister(m.attempts, m.took, m.ruleErrors, m.endToEnd, m)
	return m
}

// Attach gives the metrics their worker, its health, and how to find out whether it is
// connected.
func (m *WorkerMetrics) Attach(w *delivery.Worker, health *WorkerHealth, connected func() bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.worker, m.health, m.connected = w, health, connected
}

// Attempted counts an attempt.
func (m *WorkerMetrics) Attempted(a delivery.Attempted) {
	m.attempts.WithLabelValues(a.Channel, a.Kind, a.Class.String()).Inc()
	m.took.WithLabelValues(a.Channel, a.Kind).Observe(a.Took.Seconds())
	if a.RuleErrors > 0 {
		m.ruleErrors.WithLabelValues(a.Channel).Add(float64(a.RuleErrors))
	}
}

// Settled measures how long an update was on its way. Outcomes themselves are
// counted by the worker.
func (m *WorkerMetrics) Settled(s delivery.Settled) {
	if s.EndToEnd >= 0 {
		m.endToEnd.WithLabelValues(s.Channel).Observe(s.EndToEnd.Seconds())
	}
}

// workerDescs describe what is read when it is scraped.
type workerDescs struct {
	outcomes, conflicts, probes, refused, malformed, resynced, takeovers, openFailures *prometheus.Desc

	shards, channels, circuit, blocked, behind, oldest, held, parked, inFlight *prometheus.Desc
	waiting, stalled, unowned, entities, notNewest                             *prometheus.Desc
	letters, ready, connected, restored, refreshed                             *prometheus.Desc
}

func newWorkerDescs() workerDescs {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, labels, nil)
	}
	return workerDescs{
		outcomes:     desc("extsync_outcomes_total", "Final outcomes that were committed.", channelLabel, "outcome"),
		conflicts:    conflictsDesc(),
		probes:       desc("extsync_probes_total", "Attempts to find out whether the target of a held channel is back.", channelLabel),
		refused:      desc("extsync_replies_refused_total", "Acks that were not sent because the reply subject is not allowed.", channelLabel),
		malformed:    desc("extsync_malformed_updates_total", "Updates that could not be read.", channelLabel),
		resynced:     desc("extsync_resynced_updates_total", "Updates that a resync has delivered again.", channelLabel),
		takeovers:    desc("extsync_takeovers_total", "Partitions that this worker took over or opened.", channelLabel),
		openFailures: desc("extsync_connector_open_failures_total", "Times that the connector could not be opened.", channelLabel),

		shards:    desc("extsync_shards_owned", "Shards that this worker has a lease of."),
		channels:  desc("extsync_channels", "Channels in the registry, by state; every worker counts all.", "state"),
		circuit:   desc("extsync_circuit_state", "1 for the state in which the circuit in front of the target is.", channelLabel, "state"),
		blocked:   desc("extsync_connector_blocked", "1 if the channel's connector cannot be opened.", channelLabel),
		waiting:   desc("extsync_partitions_waiting", "Partitions at this worker that do not move, by the reason.", channelLabel, "why"),
		stalled:   desc("extsync_partitions_stalled", "Of these: updates wait there, nothing was settled for worker.stall_after, and somebody should look.", channelLabel, "why"),
		unowned:   desc("extsync_partitions_unowned", "Partitions of an active channel that no live worker says it has; every worker counts all. No series: none.", channelLabel),
		behind:    desc("extsync_entities_behind", "Entities whose newest version has no outcome yet, at this worker and at the broker behind it.", channelLabel),
		entities:  desc("extsync_entities", "Entities that this worker's partitions have, by what the target holds of them and whether they move.", channelLabel, "sync", "health"),
		notNewest: desc("extsync_not_newest", "Of these: those of which the target does not hold the newest version, or not as the channel makes it now, by the reason.", channelLabel, "why"),
		oldest:    desc("extsync_oldest_pending_seconds", "Age of the oldest update without an outcome; 0 if there is none.", channelLabel),
		held:      desc("extsync_updates_held", "Updates without an outcome in this worker's memory.", channelLabel),
		parked:    desc("extsync_parked_keys", "Keys that keep failing and were moved out of the way of others.", channelLabel),
		inFlight:  desc("extsync_calls_in_flight", "Calls to the target that are under way.", channelLabel),
		letters:   desc("extsync_dead_letters", "Dead letters of the channel; every worker counts all.", channelLabel),
		ready:     desc("extsync_ready", "1 if /readyz says yes."),
		connected: desc("extsync_broker_connected", "1 if there is a connection to the broker."),
		restored:  desc("extsync_broker_restored", "1 if the broker was found to hold older files than before, and 'extsync recover' was not run since."),
		refreshed: desc("extsync_refreshed_timestamp_seconds", "When the broker was asked last for what this worker cannot know: what waits there, and dead letters."),
	}
}

// conflictsDesc is the same for workers and publishers.
func conflictsDesc() *prometheus.Desc {
	return prometheus.NewDesc("extsync_version_conflicts_total",
		"Same version with other content: found when it was published, or at the target.", []string{channelLabel}, nil)
}

// Describe names what Collect gives.
func (m *WorkerMetrics) Describe(ch chan<- *prometheus.Desc) {
	d := &m.descs
	for _, desc := range []*prometheus.Desc{
		d.outcomes, d.conflicts, d.probes, d.refused, d.malformed, d.resynced, d.takeovers, d.openFailures,
		d.shards, d.channels, d.circuit, d.blocked, d.behind, d.oldest, d.held, d.parked, d.inFlight,
		d.entities, d.notNewest, d.waiting, d.stalled, d.unowned, d.letters, d.ready, d.connected, d.restored, d.refreshed,
	} {
		ch <- desc
	}
}

// Collect reads the worker's memory.
func (m *WorkerMetrics) Collect(ch chan<- prometheus.Metric) {
	m.mu.Lock()
	w, waiting, letters, refreshed := m.worker, m.waiting, m.letters, m.refreshed
	health, connected := m.health, m.connected
	m.mu.Unlock()
	if w == nil {
		return
	}
	d := &m.descs
	gauge := func(desc *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, v, labels...)
	}
	m.collectCounters(ch, w.Stats())

	s := w.Status()
	gauge(d.shards, float64(s.Shards))
	gauge(d.channels, float64(s.Active), "active")
	gauge(d.channels, float64(s.Paused), "paused")
	gauge(d.channels, float64(s.Deleted), "deleted")
	gauge(d.ready, truth(health.Ready()))
	gauge(d.connected, truth(connected()))
	gauge(d.restored, truth(!s.Restored.IsZero()))
	if !refreshed.IsZero() {
		gauge(d.refreshed, float64(refreshed.UnixMilli())/1000)
	}
	for at, n := range waitingPartitions(s.Waits, func(*workers.Wait) bool { return true }) {
		gauge(d.waiting, float64(n), at.channel, string(at.code))
	}
	for at, n := range waitingPartitions(s.Waits, func(w *workers.Wait) bool { return w.Stalled && w.Code.Alarming() }) {
		gauge(d.stalled, float64(n), at.channel, string(at.code))
	}
	for name, n := range health.Unowned() {
		gauge(d.unowned, float64(n), name)
	}
	seen := map[string]bool{}
	for part := range slices.Values(s.Partitions) {
		seen[part.Channel] = true
	}
	for _, name := range s.Blocked {
		gauge(d.blocked, 1, name)
		seen[name] = true
	}
	m.collectStandings(ch, &s, waiting)
	for _, c := range byChannel(s.Partitions) {
		for _, state := range []string{"closed", "open", "blocked"} {
			gauge(d.circuit, truth(c.circuit == state), c.name, state)
		}
		behind := uint64(c.keys)
		if c.updates > 0 { // else there was nothing left there since we asked
			behind += waiting[c.name]
		}
		gauge(d.behind, float64(behind), c.name)
		gauge(d.oldest, age(c.oldest), c.name)
		gauge(d.held, float64(c.updates), c.name)
		gauge(d.parked, float64(c.parked), c.name)
		gauge(d.inFlight, float64(c.inFlight), c.name)
	}
	if refreshed.IsZero() {
		return
	}
	for name := range letters {
		seen[name] = true
	}
	for name := range seen {
		gauge(d.letters, float64(letters[name]), name)
	}
}

func (m *WorkerMetrics) collectCounters(ch chan<- prometheus.Metric, stats map[string]delivery.ChannelStats) {
	d := &m.descs
	counter := func(desc *prometheus.Desc, v uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(v), labels...)
	}
	for name, c := range stats {
		for _, o := range []events.Outcome{events.Delivered, events.Superseded, events.Conflict, events.DeadLettered} {
			counter(d.outcomes, c.Outcomes[o], name, string(o))
		}
		counter(d.conflicts, c.Outcomes[events.Conflict], name)
		counter(d.probes, c.Probes, name)
		counter(d.refused, c.RepliesRefused, name)
		counter(d.malformed, c.Malformed, name)
		counter(d.resynced, c.Resynced, name)
		counter(d.takeovers, c.Takeovers, name)
		counter(d.openFailures, c.OpenFailures, name)
	}
}

// whyChannel is a reason in a channel.
type whyChannel struct {
	channel string
	code    why.Code
}

// waitingPartitions counts the partitions of waits. Those of a channel that could not
// be opened count as one: the worker does not have them in hand.
func waitingPartitions(waits []workers.Wait, count func(*workers.Wait) bool) map[whyChannel]int {
	out := map[whyChannel]int{}
	for i := range waits {
		if w := &waits[i]; count(w) {
			out[whyChannel{w.Channel, w.Code}] += max(1, len(w.Partitions))
		}
	}
	return out
}

// channelSum is what a worker has of a channel, in all of its partitions.
type channelSum struct {
	name, circuit                          string
	updates, keys, ready, parked, inFlight int
	oldest                                 time.Time
	takingOver                             int
	since                                  time.Time // of the partition that is being taken over for longest
}

// byChannel adds partitions up. They come ordered by channel.
func byChannel(partitions []delivery.PartitionStatus) []channelSum {
	var out []channelSum
	for _, p := range partitions {
		if len(out) == 0 || out[len(out)-1].name != p.Channel {
			out = append(out, channelSum{name: p.Channel, circuit: p.Circuit})
		}
		c := &out[len(out)-1]
		c.updates += p.Updates
		c.keys += p.Keys
		c.ready += p.Ready
		c.parked += p.Parked
		c.inFlight += p.InFlight
		if !p.Oldest.IsZero() && (c.oldest.IsZero() || p.Oldest.Before(c.oldest)) {
			c.oldest = p.Oldest
		}
		if !p.TakenOver {
			c.takingOver++
			if c.since.IsZero() || p.Since.Before(c.since) {
				c.since = p.Since
			}
		}
	}
	return out
}

func age(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return max(0, time.Since(t).Seconds())
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
