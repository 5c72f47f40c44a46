package bench

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
)

// line says in one line what was measured.
func (m Measure) line(metric string) string {
	var b strings.Builder
	switch metric {
	case byLatency:
		fmt.Fprintf(&b, "p50 %s, p99 %s", m.P50.Round(10*time.Microsecond), m.P99.Round(10*time.Microsecond))
	case byIdle:
		fmt.Fprintf(&b, "%.2f%% of a core in the worker", 100*m.CPU[roleWorker])
	default:
		fmt.Fprintf(&b, "%.0f/s", m.Rate)
	}
	fmt.Fprintf(&b, ", %.1f MiB", float64(m.Memory)/(1<<20))
	if metric != byIdle {
		for _, name := range slices.Sorted(maps.Keys(m.CPU)) {
			fmt.Fprintf(&b, ", %s %.3f", name, m.CPU[name])
		}
		b.WriteString(" CPU s per 1,000")
	}
	return b.String()
}

// reached says whether a figure was reached.
func (r *Result) reached() string {
	below := r.Metric == byLatency || r.Metric == byMemory
	good := func(limit float64) bool {
		if below {
			return r.Ratio <= limit && r.Tail <= limit
		}
		return r.Ratio >= limit
	}
	switch {
	case r.AtLeast == 0:
		return "for orientation"
	case r.Aim > 0 && good(r.Aim):
		return "aim reached"
	case good(r.AtLeast):
		return "reached"
	default:
		return "not reached"
	}
}

// Text writes a table for people.
func (r *Report) Text(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, %s", r.Date.Format(time.RFC3339), r.Machine)
	for _, name := range slices.Sorted(maps.Keys(r.Versions)) {
		fmt.Fprintf(&b, ", %s %s", name, r.Versions[name])
	}
	b.WriteString("\n\n| case | A | B | ratio | A/A | at least | aim | |\n|---|---|---|---|---|---|---|---|\n")
	for i := range r.Results {
		x := &r.Results[i]
		ratio := fmt.Sprintf("%.2f", x.Ratio)
		if x.Tail > 0 {
			ratio += fmt.Sprintf(" (p99 %.2f)", x.Tail)
		}
		fmt.Fprintf(&b, "| %s: %s | %s | %s | %s | %s | %s | %s | %s |\n", x.Name, x.What, x.side(x.A), x.side(x.B), ratio,
			number(x.Noise), number(x.AtLeast), number(x.Aim), x.reached())
	}
	b.WriteString("\nCPU seconds per 1,000 updates (medians) and peak memory of the worker or the floor:\n\n| case | A | B |\n|---|---|---|\n")
	for i := range r.Results {
		x := &r.Results[i]
		fmt.Fprintf(&b, "| %s | %s | %s |\n", x.Name, x.costs(x.A), x.costs(x.B))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func number(f float64) string {
	if f == 0 {
		return ""
	}
	return fmt.Sprintf("%.2f", f)
}

func (r *Result) side(ms []Measure) string {
	switch r.Metric {
	case byLatency:
		return fmt.Sprintf("%.2f ms (p99 %.2f ms)", 1000*median(ms, func(m Measure) float64 { return m.P50.Seconds() }),
			1000*median(ms, func(m Measure) float64 { return m.P99.Seconds() }))
	case byMemory:
		return fmt.Sprintf("%.1f MiB", memory(ms))
	case byIdle:
		return fmt.Sprintf("%.2f%%, %.1f MiB", 100*median(ms, func(m Measure) float64 { return m.CPU[roleWorker] }), memory(ms))
	default:
		return fmt.Sprintf("%.0f/s", median(ms, func(m Measure) float64 { return m.Rate }))
	}
}

func memory(ms []Measure) float64 {
	return median(ms, func(m Measure) float64 { return float64(m.Memory) }) / (1 << 20)
}

func (r *Result) costs(ms []Measure) string {
	if len(ms) == 0 {
		return ""
	}
	var out []string
	for _, name := range slices.Sorted(maps.Keys(ms[0].CPU)) {
		out = append(out, fmt.Sprintf("%s %.3f", name, median(ms, func(m Measure) float64 { return m.CPU[name] })))
	}
	return strings.Join(append(out, fmt.Sprintf("%.0f MiB", memory(ms))), ", ")
}

// Benchstat writes every measurement in the format of Go benchmarks, which
// benchstat compares: side=a against side=b, or one run against another.
func (r *Report) Benchstat(w io.Writer) error {
	var b strings.Builder
	for i := range r.Results {
		x := &r.Results[i]
		for side, ms := range map[string][]Measure{"a": x.A, "b": x.B} {
			for _, m := range ms {
				fmt.Fprintf(&b, "BenchmarkExtsync/case=%s/side=%s 1", x.Name, side)
				if m.P50 > 0 {
					fmt.Fprintf(&b, " %d p50-ns %d p99-ns", m.P50.Nanoseconds(), m.P99.Nanoseconds())
				} else {
					fmt.Fprintf(&b, " %.1f updates/s", m.Rate)
				}
				for _, name := range slices.Sorted(maps.Keys(m.CPU)) {
					fmt.Fprintf(&b, " %.4f %s-cpu-ms/update", m.CPU[name], name)
				}
				fmt.Fprintf(&b, " %d peak-bytes\n", m.Memory)
			}
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}
