// Package telemetry lets operators look at a running process: metrics for
// Prometheus, health and readiness, profiles, and traces by OpenTelemetry.
package telemetry

import (
	"net/http"
	"runtime"
	"runtime/debug"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"
)

// scrapesAtOnce bounds the scrapes that are answered side by side.
const scrapesAtOnce = 4

// NewRegistry returns a registry with what every process has: the Go runtime,
// the process, and which build it is.
func NewRegistry() *prometheus.Registry {
	reg := prometheus.NewRegistry()
	version, revision := build()
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "extsync_build_info", Help: "Always 1; the labels say which build this is.",
		ConstLabels: prometheus.Labels{"version": version, "revision": revision, "goversion": runtime.Version()},
	})
	info.Set(1)
	reg.MustRegister(
		info,
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return reg
}

// build returns what the Go tool has built into the binary.
func build() (version, revision string) {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown", ""
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			revision = s.Value
		}
	}
	return info.Main.Version, revision
}

// MetricsHandler returns what answers a scrape.
func MetricsHandler(reg *prometheus.Registry) http.Handler {
	return promhttp.HandlerFor(reg, promhttp.HandlerOpts{Registry: reg, MaxRequestsInFlight: scrapesAtOnce})
}

// ChannelMetricsHandler answers a scrape with the metrics of the channels that are
// allowed, and with nothing that belongs to no channel.
func ChannelMetricsHandler(reg *prometheus.Registry, allows func(channel string) bool) http.Handler {
	theirs := func(m *dto.Metric) bool {
		return slices.ContainsFunc(m.GetLabel(), func(l *dto.LabelPair) bool {
			return l.GetName() == channelLabel && allows(l.GetValue())
		})
	}
	return promhttp.HandlerFor(prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) {
		families, err := reg.Gather()
		for _, f := range families { // made for this call
			f.Metric = slices.DeleteFunc(f.Metric, func(m *dto.Metric) bool { return !theirs(m) })
		}
		return slices.DeleteFunc(families, func(f *dto.MetricFamily) bool { return len(f.Metric) == 0 }), err
	}), promhttp.HandlerOpts{MaxRequestsInFlight: scrapesAtOnce})
}
