package compare

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/connectors/kinds"
)

// A kind that is added is measured, too, or stands here.
func TestEachKindIsMeasured(t *testing.T) {
	elsewhere := []string{
		"http",   // is measured as a whole: http-every, http-latest and http-50ms
		"plugin", // does what its program does
	}
	var measured []string
	for _, k := range kindBenchmarks() {
		measured = append(measured, k.kind)
		files, err := filepath.Glob(filepath.Join("..", "..", "..", "pkg", "connectors", k.dir, "*_test.go"))
		testkit.Must(t, err)
		found := false
		for _, file := range files {
			text, err := os.ReadFile(file)
			testkit.Must(t, err)
			found = found || regexp.MustCompile(`(?m)^func `+k.name+`\(b \*testing\.B\)`).Match(text)
		}
		if !found {
			t.Errorf("%s has no %s", k.dir, k.name)
		}
	}
	for _, name := range kinds.All().Names() {
		if !slices.Contains(measured, name) && !slices.Contains(elsewhere, name) {
			t.Errorf("kind %s is not measured", name)
		}
	}
}

func TestRatiosAreRead(t *testing.T) {
	const said = `goos: linux
BenchmarkKafka/fence=none/batch=1-2         	    6400	     1234 ns/op	      9000 loop/s	         0.8600 ratio	      7000 updates/s
BenchmarkKafka/fence=none/batch=1-2         	    6400	     1234 ns/op	      9000 loop/s	         0.9100 ratio	      7000 updates/s
BenchmarkKafka/fence=none/batch=1-2         	    6400	     1234 ns/op	      9000 loop/s	         0.7000 ratio	      7000 updates/s
BenchmarkKafka/floor-2                      	    6400	     1234 ns/op
BenchmarkOther-2                            	    6400	     1234 ns/op	         0.1 ratio
PASS
`
	k := kindBenchmark{kind: "kafka", name: "BenchmarkKafka", flight: "64 updates"}
	r := KindsReport{Machine: "a machine", Load: "1", Ratios: k.ratios(said)}
	var out bytes.Buffer
	testkit.Must(t, r.Markdown(&out))
	const want = `a machine, load 1

| kind | case | at once | ratio | rounds |
|---|---|---|---|---|
| kafka | fence=none/batch=1 | 64 updates | **0.86** | 0.70 to 0.91 |
`
	if out.String() != want {
		t.Errorf("%s", out.String())
	}
}
