package compare

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/hms-utl/extsync/internal/faults"
	"github.com/hms-utl/extsync/pkg/versioning"
)

func TestVerdict(t *testing.T) {
	mib := func(n int64) []Measure {
		return []Measure{{Memory: n << 20, CPU: map[string]float64{roleWorker: 0.01}}}
	}
	for want, results := range map[string][]Result{
		"not reached": {
			{Metric: byRate, AtLeast: 0.8, Aim: 0.9, Ratio: 0.79},
			{Metric: byLatency, AtLeast: 1.5, Aim: 1.1, Ratio: 1, Tail: 1.6},
			{Metric: byMemory, AtLeast: 1.2, Aim: 1.2, Most: 96 << 20, AimMost: 48 << 20, Ratio: 1, B: mib(97)},
			{Metric: byMemory, AtLeast: 1.2, Aim: 1.2, Most: 96 << 20, AimMost: 48 << 20, Ratio: 1.3, B: mib(40)},
			{Metric: byIdle, Most: 256 << 20, Core: 0.005, B: mib(40)},
		},
		"reached": {
			{Metric: byRate, AtLeast: 0.8, Aim: 0.9, Ratio: 0.8},
			{Metric: byLatency, AtLeast: 1.5, Aim: 1.1, Ratio: 1, Tail: 1.5},
			{Metric: byMemory, AtLeast: 1.2, Aim: 1.2, Most: 96 << 20, AimMost: 48 << 20, Ratio: 1, B: mib(96)},
			{Metric: byIdle, Most: 256 << 20, Core: 0.02, B: mib(40)},
		},
		"aim reached": {
			{Metric: byRate, AtLeast: 0.8, Aim: 0.9, Ratio: 0.9},
			{Metric: byMemory, AtLeast: 1.2, Aim: 1.2, Most: 96 << 20, AimMost: 48 << 20, Ratio: 1, B: mib(48)},
		},
	} {
		for _, r := range results {
			if got := r.verdict(); got != want {
				t.Errorf("%+v: %q, want %q", r, got, want)
			}
		}
	}
}

// Each B is compared with the As around it, so a machine that gets slower from round
// to round changes no ratio. The rate counts to the last delivery, the sustained one
// until the ledger is complete.
func TestRatios(t *testing.T) {
	r := Result{
		Metric: byRate,
		A:      []Measure{{Rate: 900}, {Rate: 700}, {Rate: 500}, {Rate: 300}},
		B:      []Measure{{Rate: 400, Sustained: 200}, {Rate: 300, Sustained: 150}, {Rate: 100, Sustained: 100}},
	}
	r.sum(Case{Metric: byRate, scale: 2})
	if r.Ratio != 0.25 || r.Rounds != (Range{0.125, 0.25}) || r.Sustained != 0.125 || r.Noise != (Range{1, 1}) {
		t.Errorf("ratio %v, rounds %v, sustained %v, noise %v", r.Ratio, r.Rounds, r.Sustained, r.Noise)
	}
}

func TestRatioOfOneRound(t *testing.T) {
	r := Result{Metric: byMemory, A: []Measure{{Memory: 10}}, B: []Measure{{Memory: 12}}}
	r.sum(Case{Metric: byMemory})
	if r.Ratio != 1.2 || r.Rounds.String() != "" || r.Noise.String() != "" {
		t.Errorf("ratio %v, rounds %v, noise %v", r.Ratio, r.Rounds, r.Noise)
	}
}

// A case without a result is in the report, as such.
func TestReportOfAFailedCase(t *testing.T) {
	r := Report{Date: time.Unix(0, 0).UTC(), Rounds: 5, Results: []Result{
		{Name: "good", Metric: byRate, Ratio: 1, A: []Measure{{Rate: 7}}, B: []Measure{{Rate: 7}}},
		{Name: "bad", Metric: byRate, Failed: "extsync: wrong\nmore"},
	}}
	var text, tables, stat, svg strings.Builder
	if err := errors.Join(r.Text(&text), r.Markdown(&tables), r.Benchstat(&stat), r.SVG(&svg)); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"rounds: 5 (1 of good)", "no result: extsync: wrong |", "| good |"} {
		if !strings.Contains(tables.String(), want) {
			t.Errorf("the tables lack %q:\n%s", want, tables.String())
		}
	}
	if !strings.Contains(text.String(), "no result  extsync: wrong") {
		t.Errorf("the text does not say why there is no result:\n%s", text.String())
	}
	if strings.Contains(stat.String(), "bad") || strings.Contains(svg.String(), ">bad<") {
		t.Errorf("a case without result is measured:\n%s\n%s", stat.String(), svg.String())
	}
}

// Whoever reads the results needs no legend.
func TestReportReadsByItself(t *testing.T) {
	r := Report{Date: time.Unix(0, 0).UTC(), Machine: "a machine", Rounds: 1, Results: []Result{{
		Name: "http", What: "HTTP, 64 calls at once", Against: "the floor", Metric: byRate, AtLeast: 0.75, Aim: 0.9,
		A: []Measure{{Rate: 20057}}, B: []Measure{{Rate: 18969}},
	}, {
		Name: "latency", What: "from push to ack", Against: "the floor", Metric: byLatency, AtLeast: 1.5,
		A: []Measure{{P50: time.Millisecond, P99: 2 * time.Millisecond}}, B: []Measure{{P50: 2 * time.Millisecond, P99: 3 * time.Millisecond}},
	}}}
	for i, means := range []string{"extsync delivers at {share} of the loop's rate.", "An ack takes {times} times as long, and {p99} times at the 99th percentile."} {
		x := &r.Results[i]
		x.sum(Case{Metric: x.Metric})
		x.Means = x.meaning(means)
	}
	var text strings.Builder
	if err := r.Text(&text); err != nil {
		t.Fatal(err)
	}
	want := `1970-01-01T00:00:00Z, a machine, rounds: 1

http: HTTP, 64 calls at once
  extsync    18,969 updates a second
  the floor  20,057 updates a second
  ratio      0.95; aim reached (at least 0.75, aim 0.90)
  extsync delivers at 95 % of the loop's rate.

latency: from push to ack
  extsync    2.00 ms (p99 3.00 ms)
  the floor  1.00 ms (p99 2.00 ms)
  ratio      2.00 (p99 1.50); not reached (at most 1.50)
  An ack takes 2.00 times as long, and 1.50 times at the 99th percentile.
`
	if text.String() != want {
		t.Errorf("got:\n%s\nwant:\n%s", text.String(), want)
	}
}

// Every case says what it is compared with and what its figure means, and none leaves
// a place for a figure empty.
func TestEveryCaseHasItsSentence(t *testing.T) {
	for _, c := range Cases(false) {
		sentence := (&Result{Metric: c.Metric, Ratio: 1, Tail: 1, B: []Measure{{}}}).meaning(c.Means)
		if c.What == "" || c.Against == "" || !strings.HasSuffix(sentence, ".") || strings.ContainsAny(sentence, "{}") {
			t.Errorf("case %s: %q, against %q: %q", c.Name, c.What, c.Against, sentence)
		}
	}
}

func TestWrongEndStateOfTheFloor(t *testing.T) {
	tag := func(n int64) versioning.Tag { return versioning.Tag{Version: versioning.Must(versioning.Number(n))} }
	accepted := []faults.Accepted{{Key: "a", Tag: tag(1)}, {Key: "a", Tag: tag(2)}, {Key: "b", Tag: tag(1)}}
	writes := []faults.Write{{Key: "a", Tag: tag(2)}, {Key: "a", Tag: tag(1)}, {Key: "b", Tag: tag(1)}}
	if err := sameState(faults.History{Writes: writes}, accepted); err != nil {
		t.Errorf("all is there: %v", err)
	}
	if err := sameState(faults.History{Writes: writes[1:]}, accepted); !errors.Is(err, errWrong) {
		t.Errorf("a newest version is missing: %v", err)
	}
}
