package httpapi_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"reflect"
	"strings"
	"testing"
)

// fenced returns the blocks of a language of docs/http-api.md.
func fenced(t *testing.T, language string) []string {
	t.Helper()
	data, err := os.ReadFile("../../docs/http-api.md")
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, rest := range strings.Split(string(data), "\n```"+language+"\n")[1:] {
		block, _, _ := strings.Cut(rest, "\n```\n")
		out = append(out, block)
	}
	return out
}

// Whoever runs the commands of docs/http-api.md gets the answer that stands there.
func TestTopicsInTheDocument(t *testing.T) {
	r := newRig(t)
	r.serve().work()
	commands, answers := fenced(t, "sh"), fenced(t, "json")
	if len(commands) != 2 || len(answers) != 1 {
		t.Fatalf("%d blocks of commands, %d of answers", len(commands), len(answers))
	}
	script := strings.NewReplacer("http://127.0.0.1:8080", r.url, `"https://partners.example/policies"`, `"`+r.target.URL+`", "allow_cidrs": ["127.0.0.0/8"]`).Replace(commands[0])
	cmd := exec.CommandContext(t.Context(), "sh", "-euc", script)
	cmd.Stderr = os.Stderr
	said, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, said)
	}
	last := string(said[strings.LastIndex(string(said), `{"receipt"`):])
	if got, want := timeless(t, last), timeless(t, answers[0]); !reflect.DeepEqual(got, want) {
		t.Errorf("the answer is %s\nthe document says %s", last, answers[0])
	}
}

// The jobs in docs/http-api.md can be planned and started as they stand there.
func TestJobsInTheDocument(t *testing.T) {
	r := newRig(t)
	r.serve()
	commands := fenced(t, "sh")
	script := strings.NewReplacer("http://127.0.0.1:8080", r.url, "erp_db", "erp").Replace(commands[len(commands)-1])
	said, err := exec.CommandContext(t.Context(), "sh", "-euc", script).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, said)
	}
	for _, want := range []string{`"plan":`, `"job":`, `"reason":"restored"`} {
		if !strings.Contains(string(said), want) {
			t.Errorf("the answers lack %s: %s", want, said)
		}
	}
}

// timeless reads an answer about a topic's update without the times in it.
func timeless(t *testing.T, text string) any {
	t.Helper()
	var doc struct {
		Receipt  any
		Outcome  string
		Channels []struct {
			Channel string
			Ack     map[string]any
		}
	}
	if err := json.Unmarshal([]byte(text), &doc); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	for _, c := range doc.Channels {
		delete(c.Ack, "at")
	}
	return doc
}
