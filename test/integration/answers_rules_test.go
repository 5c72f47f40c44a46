package integration

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hms-utl/extsync/pkg/connectors"
)

// answerDoc is what channels test --answer writes with --json.
type answerDoc struct {
	Channel, Op, Decides string
	Rules                []connectors.RuleLook
	Result               struct {
		Class, Code, Error, Held string
		RetryAfter               string `json:"retry_after"`
	}
}

// Every rule and every answer that docs/answers.md shows is tried, and means what stands
// above it: "test: channel" is a file of channels, "test: answer CLASS [RULE [WAIT]]" an
// answer to a version 1 of its channel, "test: command" what anybody can type.
func TestRulesOfTheDocument(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file, name, tried := filepath.Join(dir, "channels.yaml"), "", 0
	for _, b := range blocks(t, answersDocument) {
		words := strings.Fields(b.plan)
		if len(words) == 0 {
			t.Fatalf("%s: nothing says what the block is", b.at)
		}
		switch words[0] {
		case "channel":
			if err := os.WriteFile(file, []byte(b.text), 0o600); err != nil {
				t.Fatal(err)
			}
			_, after, _ := strings.Cut(b.text, "name: ")
			name, _, _ = strings.Cut(after, "\n")
		case "answer":
			words = append(words[1:], "", "")
			var got answerDoc
			try := extsync("channels", "test", name, "-f", file, "--answer", "-", "--json")
			try.in = b.text
			try.decode(t, &got)
			if got.Result.Class != words[0] || got.Decides != words[1] || got.Result.RetryAfter != words[2] {
				t.Errorf("%s: %+v, want %v", b.at, got, words)
			}
			tried++
		case "command":
			follower := &reader{t: t, bin: filepath.Dir(binary(t, "extsync")), dir: dir}
			if out := follower.run(t, dir, "sh", "-euc", b.text); !strings.Contains(out, "answers[0]: decides") || !strings.Contains(out, "held:     9") {
				t.Errorf("%s: it says\n%s", b.at, out)
			}
		default:
			t.Fatalf("%s: nothing is called %s", b.at, words[0])
		}
	}
	if tried == 0 {
		t.Error("no answer was tried")
	}
}
