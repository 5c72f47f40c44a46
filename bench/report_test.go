package bench

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
		{Name: "bad", Metric: byRate, Failed: "B: wrong\nmore"},
	}}
	var text, stat, svg strings.Builder
	if err := errors.Join(r.Text(&text), r.Benchstat(&stat), r.SVG(&svg)); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"rounds: 5 (1 of good)", "| bad: ", "no result: B: wrong |", "| good |"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("the text lacks %q:\n%s", want, text.String())
		}
	}
	if strings.Contains(stat.String(), "bad") || strings.Contains(svg.String(), ">bad<") {
		t.Errorf("a case without result is measured:\n%s\n%s", stat.String(), svg.String())
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
