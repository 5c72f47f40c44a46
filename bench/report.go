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
	if m.Sustained > 0 {
		fmt.Fprintf(&b, ", ledger complete after %s (%.0f/s sustained)", m.Ledger.Round(time.Millisecond), m.Sustained)
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

// verdict says whether a figure was reached.
func (r *Result) verdict() string {
	switch {
	case r.within(r.Aim, r.AimMost, r.Core) && (r.Aim > 0 || r.AimMost > 0):
		return "aim reached"
	case r.within(r.AtLeast, r.Most, r.Core):
		return "reached"
	default:
		return "not reached"
	}
}

// within compares with bounds, of which those that are zero do not count.
func (r *Result) within(ratio float64, most int64, core float64) bool {
	if below := r.Metric == byLatency || r.Metric == byMemory; ratio > 0 && (below && max(r.Ratio, r.Tail) > ratio || !below && r.Ratio < ratio) {
		return false
	}
	if most > 0 && memory(r.B) > float64(most)/(1<<20) {
		return false
	}
	return core == 0 || workerCPU(r.B) <= core
}

// Text writes the results for people, in Markdown.
func (r *Report) Text(w io.Writer) error {
	var b strings.Builder
	if r.Quick {
		b.WriteString("**Small sizes: these figures mean nothing.**\n\n")
	}
	fmt.Fprintf(&b, "%s, %s, %s", r.Date.Format(time.RFC3339), r.Machine, r.rounds())
	for _, name := range slices.Sorted(maps.Keys(r.Versions)) {
		fmt.Fprintf(&b, ", %s %s", name, r.Versions[name])
	}
	b.WriteString("\n\n| case | A | B | ratio | rounds | A/A | sustained | at least | aim | |\n|---|---|---|---|---|---|---|---|---|---|\n")
	for i := range r.Results {
		r.Results[i].row(&b)
	}
	b.WriteString("\nCPU seconds per 1,000 updates (shares of a core for `idle`) by process, and the most memory of the worker, the floor or the publisher; medians. Last, how long after the last ack the ledger was complete:\n\n")
	b.WriteString("| case | A | B | ledger |\n|---|---|---|---|\n")
	for i := range r.Results {
		if x := &r.Results[i]; x.Failed == "" {
			fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", x.Name, x.costs(x.A), x.costs(x.B), x.lag())
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// rounds says how often each case was measured.
func (r *Report) rounds() string {
	others := map[int][]string{}
	for i := range r.Results {
		if x := &r.Results[i]; x.Failed == "" && len(x.B) != r.Rounds {
			others[len(x.B)] = append(others[len(x.B)], x.Name)
		}
	}
	var list []string
	for _, n := range slices.Sorted(maps.Keys(others)) {
		list = append(list, fmt.Sprintf("%d of %s", n, strings.Join(others[n], ", ")))
	}
	text := fmt.Sprintf("rounds: %d", r.Rounds)
	if len(list) > 0 {
		text += " (" + strings.Join(list, "; ") + ")"
	}
	return text
}

func (r *Result) row(b *strings.Builder) {
	fmt.Fprintf(b, "| %s: %s | ", r.Name, r.What)
	if r.Failed != "" {
		first, _, _ := strings.Cut(r.Failed, "\n")
		fmt.Fprintf(b, " | | | | | | | | no result: %s |\n", strings.ReplaceAll(first, "|", "/"))
		return
	}
	ratio := number(r.Ratio)
	if r.Tail > 0 {
		ratio += fmt.Sprintf(" (p99 %.2f)", r.Tail)
	}
	fmt.Fprintf(b, "%s | %s | %s | %s | %s | %s | %s | %s | %s |\n", r.side(r.A), r.side(r.B), ratio,
		r.Rounds, r.Noise, number(r.Sustained), number(r.AtLeast), number(r.Aim), r.verdict())
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
		return fmt.Sprintf("%.4f, %.1f MiB", workerCPU(ms), memory(ms))
	default:
		return fmt.Sprintf("%.0f/s", median(ms, func(m Measure) float64 { return m.Rate }))
	}
}

func memory(ms []Measure) float64 {
	return median(ms, func(m Measure) float64 { return float64(m.Memory) }) / (1 << 20)
}

func workerCPU(ms []Measure) float64 {
	return median(ms, func(m Measure) float64 { return m.CPU[roleWorker] })
}

func (r *Result) costs(ms []Measure) string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(ms[0].CPU)) {
		out = append(out, fmt.Sprintf("%s %.3f", name, median(ms, func(m Measure) float64 { return m.CPU[name] })))
	}
	return strings.Join(append(out, fmt.Sprintf("%.0f MiB", memory(ms))), ", ")
}

// lag is how long the ledger of B took after the last ack.
func (r *Result) lag() string {
	if r.Sustained == 0 {
		return ""
	}
	return fmt.Sprintf("%.1f s", median(r.B, func(m Measure) float64 { return m.Ledger.Seconds() }))
}

// Benchstat writes every measurement in the format of Go benchmarks, which
// benchstat compares: side=a against side=b, or one run against another.
func (r *Report) Benchstat(w io.Writer) error {
	var b strings.Builder
	for i := range r.Results {
		x := &r.Results[i]
		for _, side := range []struct {
			name string
			ms   []Measure
		}{{"a", x.A}, {"b", x.B}} {
			for _, m := range side.ms {
				fmt.Fprintf(&b, "BenchmarkExtsync/case=%s/side=%s 1", x.Name, side.name)
				if m.P50 > 0 {
					fmt.Fprintf(&b, " %d p50-ns %d p99-ns", m.P50.Nanoseconds(), m.P99.Nanoseconds())
				} else {
					fmt.Fprintf(&b, " %.1f updates/s", m.Rate)
				}
				if m.Sustained > 0 {
					fmt.Fprintf(&b, " %.1f sustained-updates/s %.3f ledger-s", m.Sustained, m.Ledger.Seconds())
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
