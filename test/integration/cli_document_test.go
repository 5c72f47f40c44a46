package integration

import (
	"os"
	"path/filepath"
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
