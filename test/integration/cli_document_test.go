package integration

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hms-utl/extsync/pkg/connectors/kinds"
)

// updateVariable makes the test write the reference instead of comparing it.
const updateVariable = "EXTSYNC_UPDATE_DOCS"

const reference = "docs/cli.md"

const referenceHead = `# Commands

Made from the programs themselves by ` + "`make docs`" + `. Every command takes ` + "`--json`" + `, with the documents of the [HTTP API](http-api.md) where that does the same; exit codes, settings and their variables are in
` + "`--help`" + ` and in the [README](../README.md). ` + "`extsync completion --help`" + ` tells how to have commands, flags and channels completed by a shell.

`

// docs/cli.md says what the programs can do.
func TestCommandReferenceIsUpToDate(t *testing.T) {
	text := referenceHead
	for _, name := range []string{"extsync", "publisher", "connector-worker"} {
		text += program{name: name, args: []string{"document"}}.ok(t)
	}
	upToDate(t, reference, text)
}

// docs/channels.md and docs/connectors say what a configuration may hold, and so does the
// schema for editors.
func TestConfigurationReferenceIsUpToDate(t *testing.T) {
	upToDate(t, "docs/channels.md", extsync("document", "channels").ok(t))
	upToDate(t, "examples/channels.schema.json", extsync("channels", "schema").ok(t))
	for _, kind := range kinds.All().Names() {
		upToDate(t, "docs/connectors/"+kind+".md", extsync("document", kind).ok(t))
	}
}

// upToDate compares a file of the repository with what it is made from, or makes it.
func upToDate(t *testing.T, name, text string) {
	t.Helper()
	if os.Getenv(updateVariable) != "" {
		path := filepath.Join(repository, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if document(t, name) != text {
		t.Errorf("%s is out of date: run make docs", name)
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
