package integration

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hms-utl/extsync/internal/faults"
	"github.com/hms-utl/extsync/pkg/channels"
)

// The example that publishes to a topic does what docs/contract.md says, and prints what is
// shown there.
func TestExampleInPythonPublishesToATopic(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	_, err := r.registry.PutTopic(t.Context(), channels.Topic{Name: "policies"}, 0)
	r.must(err)
	for _, name := range []string{"erp", "portal"} {
		tg := faults.NewHTTPTarget(t, faults.HTTPOptions{})
		r.channel(name, channels.Latest, "http", tg.Connector(), func(c *channels.Config) { c.From = &channels.From{Topic: "policies"} })
	}
	r.inProcess()
	publish := func(args ...string) (string, int) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), filepath.Join(repository, "examples", "publisher", "python", "publish_to_topic.py"),
			append([]string{strings.TrimPrefix(r.url, "nats://"), "policies", "p-2023-vax"}, args...)...)
		out, err := cmd.CombinedOutput()
		if err != nil && cmd.ProcessState == nil {
			t.Fatal(err)
		}
		return string(out), cmd.ProcessState.ExitCode()
	}
	const content = `{"content":"Booster every 6 months"}`
	got, code := publish("7", content, "2")
	lines := strings.SplitAfter(got, "\n") // acks come as they are sent
	if len(lines) > 2 && lines[1] > lines[2] {
		lines[1], lines[2] = lines[2], lines[1]
	}
	got = strings.Join(lines, "")
	shown := blockWith(t, "publish_to_topic.py 127.0.0.1:4222")
	if _, want, _ := strings.Cut(shown, "\n"); code != 0 || strings.TrimSpace(got) != strings.TrimSpace(want) {
		t.Errorf("exit code %d:\n%s\nwant\n%s", code, got, want)
	}
	for _, c := range []struct {
		version, payload, says string
		code                   int
	}{
		{"7", content, "it is there already", 0},
		{"7", `{}`, "the topic has version 7", 4},
		{"6", content, "the topic has version 7", 4},
		{"8", content, "stored as sequence 2", 0},
	} {
		if out, code := publish(c.version, c.payload); code != c.code || !strings.Contains(out, c.says) {
			t.Errorf("version %s: exit code %d:\n%s", c.version, code, out)
		}
	}
}
