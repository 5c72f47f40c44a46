package bench

import (
	"fmt"
	"io"
	"strings"
)

// Sizes of the picture, in its own units.
const (
	svgRow   = 46
	svgLeft  = 130
	svgWidth = 420
)

// SVG draws rate and memory of both sides of every case that has a rate.
func (r *Report) SVG(w io.Writer) error {
	var results []*Result
	for i := range r.Results {
		if x := &r.Results[i]; x.Metric == byRate {
			results = append(results, x)
		}
	}
	var b strings.Builder
	height := 60 + svgRow*len(results)
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 760 %d" font-family="sans-serif" font-size="12">`+"\n", height)
	fmt.Fprintf(&b, `<rect width="760" height="%d" fill="#fff"/>`+"\n", height)
	fmt.Fprintf(&b, `<text x="10" y="20" font-size="14">Updates a second, and memory: A grey, B (extsync) blue. %s, %s</text>`+"\n", r.Machine, r.Date.Format("2006-01-02"))
	for i, x := range results {
		y := 40 + svgRow*i
		fmt.Fprintf(&b, `<text x="10" y="%d">%s</text>`+"\n", y+20, x.Name)
		rate := func(m Measure) float64 { return m.Rate }
		a, bb := median(x.A, rate), median(x.B, rate)
		most := max(a, bb, 1)
		bar(&b, y, a/most, "#999", fmt.Sprintf("%.0f/s, %.0f MiB", a, memory(x.A)))
		bar(&b, y+17, bb/most, "#2b6cb0", fmt.Sprintf("%.0f/s, %.0f MiB", bb, memory(x.B)))
	}
	b.WriteString("</svg>\n")
	_, err := io.WriteString(w, b.String())
	return err
}

func bar(b *strings.Builder, y int, share float64, color, label string) {
	width := share * svgWidth
	fmt.Fprintf(b, `<rect x="%d" y="%d" width="%.1f" height="14" fill="%s"/><text x="%.1f" y="%d">%s</text>`+"\n",
		svgLeft, y, width, color, svgLeft+width+6, y+11, label)
}
