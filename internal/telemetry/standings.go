package telemetry

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/hms-utl/extsync/pkg/delivery"
	"github.com/hms-utl/extsync/pkg/why"
)

// collectStandings tells how keys stand. waiting has the updates that lie at the broker, by
// channel, as it was asked last.
func (m *WorkerMetrics) collectStandings(ch chan<- prometheus.Metric, s *delivery.Status, waiting map[string]uint64) {
	gauge := func(desc *prometheus.Desc, n int64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, float64(n), labels...)
	}
	for channel, counts := range standings(s, waiting) {
		entities := map[[2]string]int64{{string(why.InSync), string(why.HealthOK)}: 0}
		notNewest := map[why.Code]int64{}
		for _, c := range counts {
			entities[[2]string{string(c.Sync), string(c.Health)}] += c.Keys
			if c.Why != "" {
				notNewest[c.Why] += c.Keys
			}
		}
		for at, n := range entities {
			gauge(m.descs.entities, n, channel, at[0], at[1])
		}
		for code, n := range notNewest {
			gauge(m.descs.notNewest, n, channel, string(code))
		}
	}
}

// standings adds up how the keys of each channel stand. A channel has none while one of its
// partitions at this worker does not know it.
func standings(s *delivery.Status, waiting map[string]uint64) map[string]why.Counts {
	out, unknown := map[string]why.Counts{}, map[string]bool{}
	updates := map[string]int{}
	for i := range s.Partitions {
		p := &s.Partitions[i]
		updates[p.Channel] += p.Updates
		if p.Standings == nil {
			unknown[p.Channel] = true
			continue
		}
		sum := out[p.Channel]
		sum.AddAll(p.Standings)
		out[p.Channel] = sum
	}
	held := map[string]why.Code{}
	for i := range s.Waits {
		if w := &s.Waits[i]; held[w.Channel] == "" { // the most urgent is the first
			held[w.Channel] = w.Code
		}
	}
	for channel, counts := range out {
		if unknown[channel] {
			delete(out, channel)
			continue
		}
		if updates[channel] > 0 { // else there was nothing left there since we asked
			counts.Wait(int64(waiting[channel]), held[channel]) //nolint:gosec // no number of updates
		}
		out[channel] = counts.Sorted()
	}
	return out
}
