package integration

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// What is written twice agrees: these tests hold documents, workflows, go.mod and
// the Makefile together.

// documents returns the names of all files in Markdown.
func documents(t *testing.T) []string {
	t.Helper()
	var names []string
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/connectors/*.md", "docs/adr/*.md", ".github/*.md"} {
		found, err := filepath.Glob(filepath.Join(repository, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range found {
			name, err := filepath.Rel(repository, path)
			if err != nil {
				t.Fatal(err)
			}
			names = append(names, filepath.ToSlash(name))
		}
	}
	if len(names) < 20 {
		t.Fatalf("found %d documents only: %v", len(names), names)
	}
	return names
}

// targets returns the targets that the Makefile explains.
func targets(t *testing.T) []string {
	t.Helper()
	var names []string
	for _, m := range regexp.MustCompile(`(?m)^([a-z-]+):.*## `).FindAllStringSubmatch(document(t, "Makefile"), -1) {
		names = append(names, m[1])
	}
	if !slices.Contains(names, "test") {
		t.Fatalf("the Makefile explains the targets %v, and not test", names)
	}
	return names
}

func TestDocumentsNameTargetsThatExist(t *testing.T) {
	known := targets(t)
	named := regexp.MustCompile("`make ([a-z-]+)")
	for _, name := range documents(t) {
		for _, m := range named.FindAllStringSubmatch(document(t, name), -1) {
			if !slices.Contains(known, m[1]) {
				t.Errorf("%s names `make %s`, which the Makefile does not have", name, m[1])
			}
		}
	}
}

func TestDocumentsNameTheServerThatTheTestsRunOn(t *testing.T) {
	m := regexp.MustCompile(`github\.com/nats-io/nats-server/v2 v(\d+\.\d+)\.`).FindStringSubmatch(document(t, "go.mod"))
	if m == nil {
		t.Fatal("go.mod names no nats-server")
	}
	for name, want := range map[string]string{
		"README.md":          "a NATS server with JetStream (" + m[1] + ", the version the tests run on",
		"docs/operations.md": "NATS server " + m[1] + ", the version the tests run on",
	} {
		if !strings.Contains(document(t, name), want) {
			t.Errorf("%s does not say %q", name, want)
		}
	}
}

func TestArchitectureListsThePackages(t *testing.T) {
	text := document(t, "docs/architecture.md")
	for _, root := range []string{"pkg", "internal"} {
		entries, err := os.ReadDir(filepath.Join(repository, root))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if name := root + "/" + e.Name(); e.IsDir() && !strings.Contains(text, "`"+name) {
				t.Errorf("docs/architecture.md does not say what %s is", name)
			}
		}
	}
}

// What contributors run is what CI runs: every command of a workflow is a target of
// make.
func TestWorkflowsRunTargetsOfMakeAndNothingElse(t *testing.T) {
	known := targets(t)
	paths, err := filepath.Glob(filepath.Join(repository, ".github", "workflows", "*.yml"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("found the workflows %v, %v", paths, err)
	}
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var workflow struct {
			Jobs map[string]struct {
				Strategy struct{ Matrix struct{ Target []string } }
				Steps    []struct{ Uses, Run string }
			}
		}
		if err := yaml.Unmarshal(data, &workflow); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		for name, job := range workflow.Jobs {
			ran := 0
			for _, step := range job.Steps {
				if step.Run == "" {
					continue
				}
				commands := []string{step.Run}
				if step.Run == "make ${{ matrix.target }}" {
					commands = nil
					for _, target := range job.Strategy.Matrix.Target {
						commands = append(commands, "make "+target)
					}
				}
				for _, command := range commands {
					ran++
					words := strings.Fields(command)
					if len(words) < 2 || words[0] != "make" || !slices.Contains(known, words[1]) {
						t.Errorf("%s, job %s runs %q, which is no target of the Makefile", filepath.Base(path), name, command)
					}
				}
			}
			if ran == 0 {
				t.Errorf("%s, job %s runs nothing", filepath.Base(path), name)
			}
		}
	}
}

// The commands of CONTRIBUTING are ones that make knows. They would run this very
// test: make only says what it would do.
func TestCONTRIBUTING(t *testing.T) {
	r := &reader{t: t, bin: t.TempDir()}
	ran := 0
	for _, b := range blocks(t, "CONTRIBUTING.md") {
		if b.language == "sh" {
			r.follow(t, b)
			ran++
		}
	}
	if ran == 0 {
		t.Error("CONTRIBUTING.md has no commands")
	}
}
