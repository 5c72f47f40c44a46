package integration

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// updateVariable makes the test write the reference instead of comparing it.
const updateVariable = "EXTSYNC_UPDATE_DOCS"

const reference = "docs/cli.md"

const referenceHead = `# Commands

Made from the programs themselves by ` + "`make docs`" + `. Every command takes ` + "`--json`" + `; exit codes, settings and their variables are in
` + "`--help`" + ` and in the [README](../README.md). ` + "`extsync completion --help`" + ` tells how to have commands, flags and channels completed by a shell.

`

// docs/cli.md says what the programs can do.
func TestCommandReferenceIsUpToDate(t *testing.T) {
	text := referenceHead
	for _, name := range []string{"extsync", "publisher", "connector-worker"} {
		text += program{name: name, args: []string{"document"}}.ok(t)
	}
	if os.Getenv(updateVariable) != "" {
		if err := os.WriteFile(filepath.Join(repository, reference), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if document(t, reference) != text {
		t.Errorf("%s is out of date: run make docs", reference)
	}
}

// Every command says in its help what it does and how it is used.
func TestHelpTeaches(t *testing.T) {
	for _, name := range []string{"extsync", "publisher", "connector-worker"} {
		for section := range strings.SplitSeq(program{name: name, args: []string{"document"}}.ok(t), "\n### ") {
			command, text, _ := strings.Cut(section, "\n")
			runs := strings.Contains(text, "Usage: `")
			if runs && strings.Count(text, "```text") < 2 {
				t.Errorf("%s: its help lacks an explanation or an example", command)
			}
		}
	}
}
