package compare

import (
	"cmp"
	"fmt"
	"slices"
)

// A Range is from the least to the most of some ratios; zero if there are none.
type Range struct {
	Least float64 `json:"least"`
	Most  float64 `json:"most"`
}

func (r Range) String() string {
	if r == (Range{}) {
		return ""
	}
	return fmt.Sprintf("%.2f to %.2f", r.Least, r.Most)
}

func rangeOf(ratios []float64) Range {
	if len(ratios) == 0 {
		return Range{}
	}
	return Range{Least: slices.Min(ratios), Most: slices.Max(ratios)}
}

// sum computes the ratios.
func (r *Result) sum(c Case) {
	value := func(m Measure) float64 { return m.Rate }
	switch c.Metric {
	case byLatency:
		value = func(m Measure) float64 { return m.P50.Seconds() }
		tail := func(m Measure) float64 { return m.P99.Seconds() }
		r.Tail = middle(r.ratios(tail, 1))
	case byMemory:
		value = func(m Measure) float64 { return float64(m.Memory) }
	}
	if c.Metric == byIdle { // of next to nothing: the share itself counts
		r.Ratio = 0
		return
	}
	scale := max(c.scale, 1)
	ratios := r.ratios(value, scale)
	r.Ratio, r.Noise = middle(ratios), rangeOf(noise(r.A, value))
	if len(ratios) > 1 {
		r.Rounds = rangeOf(ratios)
	}
	if median(r.B, func(m Measure) float64 { return m.Sustained }) > 0 {
		r.Sustained = middle(r.ratios(func(m Measure) float64 { return cmp.Or(m.Sustained, m.Rate) }, scale))
	}
}

// ratios compares each B with the As before and after it: a machine whose speed
// changes slowly changes no ratio.
func (r *Result) ratios(value func(Measure) float64, scale float64) []float64 {
	var out []float64
	for i, b := range r.B {
		around := r.A[i:min(i+2, len(r.A))]
		out = append(out, value(b)/mean(around, value)/scale)
	}
	return out
}

// noise compares each A, but for the first and the last, with those around it.
func noise(as []Measure, value func(Measure) float64) []float64 {
	var out []float64
	for i := 1; i < len(as)-1; i++ {
		out = append(out, value(as[i])/mean([]Measure{as[i-1], as[i+1]}, value))
	}
	return out
}

func mean(ms []Measure, value func(Measure) float64) float64 {
	sum := 0.0
	for _, m := range ms {
		sum += value(m)
	}
	return sum / float64(len(ms))
}

func median(ms []Measure, value func(Measure) float64) float64 {
	var all []float64
	for _, m := range ms {
		all = append(all, value(m))
	}
	return middle(all)
}

// middle returns the median, 0 of none.
func middle(all []float64) float64 {
	all = slices.Sorted(slices.Values(all))
	n := len(all)
	if n == 0 {
		return 0
	}
	return (all[(n-1)/2] + all[n/2]) / 2
}
