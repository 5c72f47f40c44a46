package compare

import (
	"fmt"
	"io"
	"strings"
)

// Sizes of the picture, in its own units.
const (
	svgRow    = 46
	svgTop    = 64
	svgRate   = 120 // where the bars of the rates begin
	svgMemory = 520 // ... of the memory
	svgBar    = 230 // the longest
	svgWidth  = 880
)

const (
	colourA = "#999"
	colourB = "#2b6cb0"
)

// SVG draws rate and memory of both sides of every case that has a rate. The
// rates of a case share a scale, the memory of all cases does.
func (r *Report) SVG(w io.Writer) error {
	var results []*Result
	for i := range r.Results {
		if x := &r.Results[i]; x.Metric == byRate && x.Failed == "" {
			results = append(results, x)
		}
	}
	most := 1.0
	for _, x := range results {
		most = max(most, memory(x.A), memory(x.B))
	}
	var b strings.Builder
	height := svgTop + svgRow*len(results)
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">`+"\n", svgWidth, height)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="#fff"/>`+"\n", svgWidth, height)
	fmt.Fprintf(&b, `<text x="10" y="20" font-size="14">extsync (blue) and what it is compared with (grey). %s, %s</text>`+"\n", escape(r.Machine), r.Date.Format("2006-01-02"))
	fmt.Fprintf(&b, `<text x="%d" y="44" font-weight="bold">Updates a second, at the target</text>`+"\n", svgRate)
	fmt.Fprintf(&b, `<text x="%d" y="44" font-weight="bold">Memory at most: worker, floor or publisher</text>`+"\n", svgMemory)
	for i, x := range results {
		y := svgTop - 8 + svgRow*i
		fmt.Fprintf(&b, `<text x="10" y="%d">%s</text>`+"\n", y+20, escape(x.Name))
		rate := func(m Measure) float64 { return m.Rate }
		fastest := max(median(x.A, rate), median(x.B, rate), 1)
		for j, side := range []struct {
			ms     []Measure
			colour string
		}{{x.A, colourA}, {x.B, colourB}} {
			bar(&b, svgRate, y+17*j, median(side.ms, rate)/fastest, side.colour, fmt.Sprintf("%.0f/s", median(side.ms, rate)))
			bar(&b, svgMemory, y+17*j, memory(side.ms)/most, side.colour, fmt.Sprintf("%.0f MiB", memory(side.ms)))
		}
	}
	b.WriteString("</svg>\n")
	_, err := io.WriteString(w, b.String())
	return err
}

func bar(b *strings.Builder, x, y int, share float64, colour, label string) {
	width := share * svgBar
	fmt.Fprintf(b, `<rect x="%d" y="%d" width="%.1f" height="14" fill="%s"/><text x="%.1f" y="%d">%s</text>`+"\n",
		x, y, width, colour, float64(x)+width+6, y+11, label)
}

// escape makes text fit to stand in XML.
func escape(s string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(s)
}
