package compare

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// KindsOptions say what Kinds measures.
type KindsOptions struct {
	Kinds    []string // all if empty
	Rounds   int      // of each measurement
	Time     string   // of a round, as the flag -benchtime of go test takes it
	Progress io.Writer
}

// ErrKinds says that there is nothing to measure.
var ErrKinds = errors.New("kinds")

// A kindBenchmark is where a kind is compared with the smallest loop.
type kindBenchmark struct {
	kind, dir, name string // below pkg/connectors, and of the function
	flight          string // what is under way at once
}

// kindBenchmarks are in the order of their kinds. Each reports the unit ratioUnit.
func kindBenchmarks() []kindBenchmark {
	const calls = "64 calls"
	return []kindBenchmark{
		{"amqp", "connamqp", "BenchmarkAMQP", "64 updates"},
		{"caldav", "conncaldav", "BenchmarkApply", "64 calls, Radicale 4"},
		{"file", "connfile", "BenchmarkFile", calls},
		{"kafka", "connkafka", "BenchmarkKafka", "64 updates"},
		{"mqtt", "connmqtt", "BenchmarkMQTT", "64 updates"},
		{"nats", "connnats", "BenchmarkApply", calls},
		{"redis", "connredis", "BenchmarkApply", calls},
		{"s3", "conns3", "BenchmarkApply", calls},
		{"sftp", "connfile", "BenchmarkSFTP", calls},
		{"sql", "connsql", "BenchmarkBatch", "a batch of 200"},
	}
}

// ratioUnit is what a benchmark calls the connector's rate by that of the loop.
const ratioUnit = "ratio"

// A KindRatio is one measurement of a kind.
type KindRatio struct {
	Kind, Case, Flight string
	Ratios             []float64 // of each round
}

// A KindsReport has what was measured, in the order of the kinds.
type KindsReport struct {
	Machine string
	Load    string // the machine's load average, before and after
	Ratios  []KindRatio
}

// Kinds runs the benchmarks of the kinds in the repository that it is started in. A kind that
// cannot be measured is in the error, and the others in the report.
func Kinds(ctx context.Context, o KindsOptions) (KindsReport, error) {
	report := KindsReport{Machine: machine(), Load: loadAverage()}
	if o.Rounds < 1 {
		return report, fmt.Errorf("%w: %d rounds: give 1 or more", ErrKinds, o.Rounds)
	}
	all := kindBenchmarks()
	for _, name := range o.Kinds {
		if !slices.ContainsFunc(all, func(k kindBenchmark) bool { return k.kind == name }) {
			return report, fmt.Errorf("%w: kind %q has no benchmark", ErrKinds, name)
		}
	}
	var failed error
	for _, k := range all {
		if len(o.Kinds) > 0 && !slices.Contains(o.Kinds, k.kind) {
			continue
		}
		_, _ = fmt.Fprintf(o.Progress, "%s\n", k.kind) // for who waits
		ratios, err := k.measure(ctx, &o)
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("kind %s: %w", k.kind, err))
		}
		report.Ratios = append(report.Ratios, ratios...)
	}
	report.Load += " to " + loadAverage()
	return report, failed
}

func (k *kindBenchmark) measure(ctx context.Context, o *KindsOptions) ([]KindRatio, error) {
	run := exec.CommandContext(ctx, "go", "test", "-vet=off", "-timeout=1h", "-run=^$", "-bench=^"+k.name+"$", //nolint:gosec // go test, with flags of its own
		"-benchtime="+o.Time, "-count="+strconv.Itoa(o.Rounds), "./pkg/connectors/"+k.dir)
	run.Env = append(os.Environ(), "CGO_ENABLED=0")
	run.Cancel, run.WaitDelay = func() error { return run.Process.Signal(os.Interrupt) }, 10*time.Second // or its servers stay
	out, err := run.CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("%w\n%s", err, out[max(0, len(out)-2000):])
	}
	ratios := k.ratios(string(out))
	if len(ratios) == 0 {
		return nil, fmt.Errorf("%w: no ratio was measured\n%s", ErrKinds, out)
	}
	for _, r := range ratios {
		if len(r.Ratios) != o.Rounds { // go test forgives a round that fails, if it is not the first one
			err = errors.Join(err, fmt.Errorf("%w: %s: %d of %d rounds were measured", ErrKinds, r.Case, len(r.Ratios), o.Rounds))
		}
	}
	if err != nil {
		return ratios, fmt.Errorf("%w\n%s", err, out[max(0, len(out)-2000):])
	}
	return ratios, nil
}

// processors ends the name of a measurement where there is more than one.
var processors = regexp.MustCompile(`-[0-9]+$`)

// ratios reads what go test has written of a benchmark: its name, how often it was repeated,
// then pairs of a value and its unit.
func (k *kindBenchmark) ratios(text string) []KindRatio {
	var out []KindRatio
	for s := bufio.NewScanner(strings.NewReader(text)); s.Scan(); {
		words := strings.Fields(s.Text())
		if len(words) < 4 || !strings.HasPrefix(words[0], k.name) {
			continue
		}
		i := slices.Index(words, ratioUnit)
		if i < 3 {
			continue
		}
		ratio, err := strconv.ParseFloat(words[i-1], 64)
		if err != nil {
			continue
		}
		name := strings.TrimPrefix(strings.TrimPrefix(words[0], k.name), "/")
		name = processors.ReplaceAllString(name, "")
		at := slices.IndexFunc(out, func(r KindRatio) bool { return r.Case == name })
		if at < 0 {
			at = len(out)
			out = append(out, KindRatio{Kind: k.kind, Case: name, Flight: k.flight})
		}
		out[at].Ratios = append(out[at].Ratios, ratio)
	}
	return out
}

// Markdown writes the table of docs/performance.md.
func (r *KindsReport) Markdown(out io.Writer) error {
	if len(r.Ratios) == 0 {
		return nil
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s, load %s\n\n| kind | case | at once | ratio | rounds |\n|---|---|---|---|---|\n", r.Machine, r.Load)
	for _, k := range r.Ratios {
		sorted := slices.Sorted(slices.Values(k.Ratios))
		fmt.Fprintf(&b, "| %s | %s | %s | **%.2f** | %.2f to %.2f |\n", k.Kind, k.Case, k.Flight, sorted[len(sorted)/2], sorted[0], sorted[len(sorted)-1])
	}
	_, err := io.WriteString(out, b.String())
	return err
}
