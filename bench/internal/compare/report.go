package compare

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

// Text writes the results for people at a terminal.
func (r *Report) Text(w io.Writer) error {
	var b strings.Builder
	r.head(&b)
	for i := range r.Results {
		r.Results[i].text(&b)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// head says on what was measured, and how often.
func (r *Report) head(b *strings.Builder) {
	if r.Quick {
		b.WriteString("Small sizes: these figures mean nothing.\n\n")
	}
	fmt.Fprintf(b, "%s, %s, %s", r.Date.Format(time.RFC3339), r.Machine, r.rounds())
	for _, name := range slices.Sorted(maps.Keys(r.Versions)) {
		fmt.Fprintf(b, ", %s %s", name, r.Versions[name])
	}
	b.WriteString("\n")
}

func (r *Result) text(b *strings.Builder) {
	fmt.Fprintf(b, "\n%s: %s\n", r.Name, r.What)
	line := func(name, value string) {
		fmt.Fprintf(b, "  %-*s  %s\n", max(len("extsync"), len(r.Against)), name, value)
	}
	if r.Failed != "" {
		line("no result", r.Failed)
		return
	}
	line("extsync", r.side(r.B))
	line(r.Against, r.side(r.A))
	line("ratio", r.comparison())
	fmt.Fprintf(b, "  %s\n", r.Means)
}

// comparison is the ratio, what is asked of it, and what it can be trusted to.
func (r *Result) comparison() string {
	var parts []string
	if r.Ratio > 0 {
		parts = append(parts, r.ratio())
	}
	parts = append(parts, r.verdict()+r.asked())
	if rounds := r.Rounds.String(); rounds != "" {
		parts = append(parts, "rounds "+rounds)
	}
	if noise := r.Noise.String(); noise != "" {
		parts = append(parts, "equal sides differ by "+noise)
	}
	if r.Sustained > 0 {
		parts = append(parts, number(r.Sustained)+" until the ledger is complete")
	}
	return strings.Join(parts, "; ")
}

func (r *Result) ratio() string {
	if r.Tail > 0 {
		return fmt.Sprintf("%s (p99 %.2f)", number(r.Ratio), r.Tail)
	}
	return number(r.Ratio)
}

// asked says which ratio is asked for, if one is.
func (r *Result) asked() string {
	bound := "at least"
	if r.Metric == byLatency || r.Metric == byMemory {
		bound = "at most"
	}
	switch {
	case r.AtLeast == 0:
		return ""
	case r.Aim == 0:
		return fmt.Sprintf(" (%s %.2f)", bound, r.AtLeast)
	default:
		return fmt.Sprintf(" (%s %.2f, aim %.2f)", bound, r.AtLeast, r.Aim)
	}
}

// meaning fills in the figures of a sentence about a case.
func (r *Result) meaning(sentence string) string {
	return strings.NewReplacer(
		"{share}", fmt.Sprintf("%.0f %%", 100*r.Ratio), "{times}", number(r.Ratio), "{p99}", number(r.Tail),
		"{memory}", fmt.Sprintf("%.0f", memory(r.B)), "{core}", fmt.Sprintf("%.1f %%", 100*workerCPU(r.B)),
	).Replace(sentence)
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
		return fmt.Sprintf("%.1f %% of a core, %.1f MiB", 100*workerCPU(ms), memory(ms))
	default:
		return fmt.Sprintf("%s updates a second", thousands(median(ms, func(m Measure) float64 { return m.Rate })))
	}
}

func memory(ms []Measure) float64 {
	return median(ms, func(m Measure) float64 { return float64(m.Memory) }) / (1 << 20)
}

func workerCPU(ms []Measure) float64 {
	return median(ms, func(m Measure) float64 { return m.CPU[roleWorker] })
}

// thousands writes a number with its digits in groups.
func thousands(f float64) string {
	digits := fmt.Sprintf("%.0f", f)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}
