package jsonfile_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/hms-utl/extsync/examples/connector/jsonfile"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connectortest"
	"github.com/hms-utl/extsync/pkg/events"
)

func TestConformance(t *testing.T) {
	directory := t.TempDir()
	open := func(t *testing.T) *connectors.Opened {
		t.Helper()
		conn, err := connectors.Open(t.Context(), jsonfile.Kind(), connectortest.Env(nil), []byte("directory: "+directory))
		if err != nil {
			t.Fatal(err)
		}
		return conn
	}
	connectortest.Run(t, connectortest.Target{
		Open: open,
		// A test of a database would ask it in another way than the connector does.
		Read: func(t *testing.T, keys ...string) map[string]connectors.Held {
			t.Helper()
			held, err := open(t).Read(t.Context(), keys)
			if err != nil {
				t.Error(err)
			}
			out := map[string]connectors.Held{}
			for i, h := range held {
				if !h.IsZero() {
					out[keys[i]] = h
				}
			}
			return out
		},
		Guarded: true, KeepsDigest: true, Tombstones: true,
		BadUpdate: func(u *events.Update) { u.Payload = []byte("{") },
		Cut:       func(t *testing.T) { move(t, directory, directory+".away") },
		Restore:   func(t *testing.T) { move(t, directory+".away", directory) },
	})
}

func move(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

func TestConfig(t *testing.T) {
	if lacks := jsonfile.Kind().Fields().Lint(); len(lacks) > 0 {
		t.Error(lacks)
	}
	for config, says := range map[string]string{"{}": "directory: ", "dir: x": "dir: ", "": "directory: ", "directory: [": "YAML"} {
		if err := jsonfile.Kind().Check([]byte(config)); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", config, err)
		}
	}
}

// What the guide shows is this code.
func TestGuideShowsThisCode(t *testing.T) {
	var code strings.Builder
	for _, name := range []string{"jsonfile.go", "jsonfile_test.go"} {
		code.WriteString(read(t, name))
	}
	guide := read(t, filepath.Join("..", "..", "..", "docs", "writing-a-connector.md"))
	blocks := regexp.MustCompile("(?s)```go\n(.*?)```").FindAllStringSubmatch(guide, -1)
	if len(blocks) < 5 {
		t.Errorf("the guide has %d blocks of code", len(blocks))
	}
	for _, block := range blocks {
		if !strings.Contains(code.String(), block[1]) {
			t.Errorf("this is not in the example:\n%s", block[1])
		}
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// A connector with all that a target can promise is as small as the guide says.
func TestExampleIsSmall(t *testing.T) {
	for path, most := range map[string]int{"jsonfile.go": 150, filepath.Join("..", "python", "sqlite_store.py"): 60} {
		lines := 0
		for line := range strings.Lines(read(t, path)) {
			line = strings.TrimSpace(line)
			if line != "" && !strings.HasPrefix(line, "//") && !strings.HasPrefix(line, "#") {
				lines++
			}
		}
		if lines > most {
			t.Errorf("%s has %d lines, without blank ones and comments, and may have %d", path, lines, most)
		}
	}
}
