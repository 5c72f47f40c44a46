package integration

import (
	"strings"
	"testing"
)

// The benchmark works: its processes start, the targets end as they should, and
// the report says so. Its figures mean nothing at this size.
func TestBenchRuns(t *testing.T) {
	out := extsync("bench", "--quick", "--case", "http-every,http-latest,sqlite,publish").ok(t)
	for _, want := range []string{"| http-every:", "| http-latest:", "| sqlite:", "| publish:", "worker", "broker"} {
		if !strings.Contains(out, want) {
			t.Errorf("the report lacks %q:\n%s", want, out)
		}
	}
	wrong := extsync("bench", "--case", "nonsense").run(t)
	if wrong.code == 0 || !strings.Contains(wrong.err, "http-every") {
		t.Errorf("an unknown case: exit code %d: %s", wrong.code, wrong.err)
	}
}
