package sim_test

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hms-utl/extsync/internal/testkit"
)

// A mutant is the engine with one guarantee broken on purpose: a line of it is another one.
type mutant struct {
	what      string
	file      string // below pkg/delivery
	old, line string
}

var mutants = []mutant{ //nolint:gochecknoglobals // a constant
	{
		"a message is acked before the log has its outcome", "commit.go",
		"at, err := t.outcomes.Append(ctx, entries)",
		"for i := range commits { if it := commits[i].Item; it != nil && it.Msg != nil { _ = it.Msg.Ack() } }; at, err := t.outcomes.Append(ctx, entries)",
	},
	{
		"an outcome is announced before the log has it", "commit.go",
		"at, err := t.outcomes.Append(ctx, entries)",
		"_ = t.replies.send(ctx, entries); at, err := t.outcomes.Append(ctx, entries)",
	},
	{
		"a head leaves the work queue before the ledger has it", "desk.go",
		"if len(a.Acks) > 0 && t.flushes.acks.add(a.Acks) {",
		"for _, one := range a.Acks { _ = one.Msg.Ack() }; if len(a.Acks) > 0 && t.flushes.acks.add(a.Acks) {",
	},
	{
		"two calls of a key are in flight", "deliver.go",
		"results := c.call(ctx, room.attempts)",
		"go c.call(ctx, append([]connectors.Attempt(nil), room.attempts...)); results := c.call(ctx, room.attempts)",
	},
	{
		"the floor is forgotten: it counts what has come, not what is settled", "flush.go",
		"t.lanes.Floor().Value(), t.lanes.Floor().StoredAt()",
		"t.lanes.Floor().Last(), t.lanes.Floor().StoredAt()",
	},
	{
		"the log is written without the fence", "internal/outlog/log.go",
		"ack, err := l.o.JS.Publish(ctx, l.subject, data, jetstream.WithExpectLastSequencePerSubject(l.end.Load()))",
		"ack, err := l.o.JS.Publish(ctx, l.subject, data)",
	},
	{
		"what the log has and the ledger has not is not recovered", "takeover.go",
		"if err := to.recoverTail(ctx); err != nil {",
		"if err := error(nil); err != nil {",
	},
	{
		"what is parked leaves the work queue before the ledger has it", "internal/lanes/park.go",
		"if m.o.Latest || it.Malformed != nil {",
		"if true {",
	},
	{
		"an outcome is told of a version whose call is in flight", "internal/lanes/lanes.go",
		"e.Open = l.open()",
		"_ = l.open()",
	},
	{
		"what is being attempted is superseded", "internal/lanes/lanes.go",
		"first = 1\n",
		"first = 0\n",
	},
	{
		"an owner is sure of what a former one may have called", "internal/lanes/refs.go",
		"it.Seq <= m.since {",
		"it.Seq == 0 {",
	},
	{
		"a call without an answer leaves no doubt", "internal/lanes/refs.go",
		"it.Unsure = l.unsure || !m.untouched(it, rec)",
		"it.Unsure = !m.untouched(it, rec)",
	},
	{
		"of the acks of two channels of a topic the broker takes one for a duplicate", "reply.go",
		`id := r.stream + ":" + r.channel + ":"`,
		`id := r.stream + ":"`,
	},
	{
		"of the parked updates of two channels of a topic the broker takes one for a duplicate", "internal/parking/parked.go",
		`wire.UpdateStream(s.o.Names, s.route)+":"+m.Place+":parked"`,
		`wire.UpdateStream(s.o.Names, events.ToTopic("everything"))+":"+m.Place+":parked"`,
	},
	{
		"a channel begins at the floor of another one of its topic", "takeover.go",
		"t.lanes.Floor().StartAt(left.Floor, left.FloorTime)",
		`if t.p.r.entry.Config.From != nil && t.p.r.entry.Config.Partitions == 1 { for g := 9; g > 0; g-- { for _, of := range []string{"cal", "second"} { for i := range 4 { if p, _, err := t.b.progress.Read(ctx, of, g, i); err == nil && p.StreamCreated == left.StreamCreated { left.Floor, left.FloorTime = max(left.Floor, p.Floor), max(left.FloorTime, p.FloorTime) } } } } }; t.lanes.Floor().StartAt(left.Floor, left.FloorTime)`,
	},
	{
		"an owner delivers what its channel does not take", "take.go",
		"return t.p.r.entry.Config.Takes(key)",
		"return true",
	},
	{
		"a reset of a topic's key leaves a trace in channels that do not take it", "control.go",
		"case req.Op == channels.ControlReset && !c.t.takes(req.Key):",
		"case req.Op == channels.ControlReset && false:",
	},
}

// mutantMost is within how many histories each must be found.
const mutantMost = 1000

// The simulation finds each guarantee that is broken on purpose.
func TestSimulationFindsWhatBreaks(t *testing.T) {
	if raced {
		t.Skip("the engine is built without the race detector here")
	}
	for _, m := range mutants {
		m.source(t)
	}
	if os.Getenv("EXTSYNC_TEST_FULL") == "" {
		t.Skipf("each of the %d mutants can be made; to build and find one may take minutes, which make test-full does", len(mutants))
	}
	for _, m := range mutants {
		t.Run(m.what, func(t *testing.T) {
			program := m.build(t)
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			var first string
			ran := simulate(t, ctx, program, blocksOf(1, mutantMost, 1), func(v violation) {
				// A process that dies, or stands still, has shown nothing of the guarantee.
				if first == "" && strings.Contains(v.what, " is violated: ") {
					first = v.String()
					stop()
				}
			})
			if first == "" {
				t.Errorf("it was not found in %d histories", ran)
			}
			t.Logf("found within %d histories: %s", ran, first)
		})
	}
}

// source returns the file with what is broken.
func (m *mutant) source(t *testing.T) string {
	t.Helper()
	source, err := os.ReadFile(m.path(t))
	testkit.Must(t, err)
	if n := strings.Count(string(source), m.old); n != 1 {
		t.Fatalf("%s has %d times what is to be broken; the mutant must follow the source", m.file, n)
	}
	return strings.Replace(string(source), m.old, m.line, 1)
}

func (m *mutant) path(t *testing.T) string {
	t.Helper()
	file, err := filepath.Abs(filepath.Join("..", "..", m.file))
	testkit.Must(t, err)
	return file
}

// build builds this package's tests with the mutant.
func (m *mutant) build(t *testing.T) (program string) {
	t.Helper()
	dir := t.TempDir()
	broken, overlay, program := filepath.Join(dir, "broken.go"), filepath.Join(dir, "overlay.json"), filepath.Join(dir, "mutant")
	testkit.Must(t, os.WriteFile(broken, []byte(m.source(t)), 0o600))
	data, err := json.Marshal(map[string]any{"Replace": map[string]string{m.path(t): broken}})
	testkit.Must(t, err)
	testkit.Must(t, os.WriteFile(overlay, data, 0o600))
	out, err := exec.CommandContext(t.Context(), "go", "test", "-c", "-overlay", overlay, "-o", program, ".").CombinedOutput() //nolint:gosec // fixed arguments
	if err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return program
}
