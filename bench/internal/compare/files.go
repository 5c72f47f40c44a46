package compare

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// Markdown writes the results as the tables of docs/performance.md.
func (r *Report) Markdown(w io.Writer) error {
	var b strings.Builder
	r.head(&b)
	b.WriteString("\n| case | extsync | against | ratio | what it means |\n|---|---|---|---|---|\n")
	for i := range r.Results {
		r.Results[i].row(&b)
	}
	b.WriteString("\nHow far to trust the ratios (*rounds*: the least and the most of a case; *equal sides*: each measurement of the other side against those around it),\nand what the sides took: CPU seconds per 1,000 updates (shares of a core for `idle`) by process, and the most memory of the worker, the floor or the publisher; medians. *Sustained* and *ledger* are explained above.\n\n")
	b.WriteString("| case | rounds | equal sides | sustained | ledger | the other side took | extsync took |\n|---|---|---|---|---|---|---|\n")
	for i := range r.Results {
		if x := &r.Results[i]; x.Failed == "" {
			fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s | %s |\n", x.Name, x.Rounds, x.Noise, number(x.Sustained), x.lag(), x.costs(x.A), x.costs(x.B))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (r *Result) row(b *strings.Builder) {
	if r.Failed != "" {
		first, _, _ := strings.Cut(r.Failed, "\n")
		fmt.Fprintf(b, "| **%s**: %s | | %s | | no result: %s |\n", r.Name, r.What, r.Against, strings.ReplaceAll(first, "|", "/"))
		return
	}
	ratio := r.verdict() + r.asked()
	if r.Ratio > 0 {
		ratio = "**" + r.ratio() + "**, " + ratio
	}
	fmt.Fprintf(b, "| **%s**: %s | %s | %s: %s | %s | %s |\n", r.Name, r.What, r.side(r.B), r.Against, r.side(r.A), ratio, r.Means)
}

// JSON writes everything that was measured.
func (r *Report) JSON(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(r)
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
