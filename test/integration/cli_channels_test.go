package integration

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/hms-utl/extsync/internal/cli"
)

func (s *site) changes(args ...string) (doc changesDoc) {
	s.t.Helper()
	s.extsync(append([]string{"channels", "apply", "--json"}, args...)...).decode(s.t, &doc)
	return doc
}

func TestChannels(t *testing.T) {
	s := newSite(t)
	one := s.file("one.yaml", "channels: [{name: a, connector: {kind: http, config: {url: 'https://a.example/x'}}}]")
	two := s.file("two.yaml", `channels:
  - {name: a, concurrency: 3, connector: {kind: http, config: {url: "https://a.example/x"}}}
  - {name: b, mode: every, connector: {kind: http, config: {url: "https://b.example/x"}}}`)
	steps := []struct {
		name string
		args []string
		want string
	}{
		{"dry run on an empty broker", []string{"-f", one, "--dry-run"}, "a created"},
		{"first", []string{"-f", one}, "a created"},
		{"again", []string{"-f", one}, "a unchanged"},
		{"dry run", []string{"-f", two, "--dry-run"}, "a changed, b created"},
		{"changed", []string{"-f", two}, "a changed, b created"},
		{"changed again", []string{"-f", two}, "a unchanged, b unchanged"},
	}
	for _, step := range steps {
		var got []string
		for _, c := range s.changes(step.args...).Channels {
			got = append(got, c.Channel+" "+c.Change)
		}
		if strings.Join(got, ", ") != step.want {
			t.Errorf("%s: %s, want %s", step.name, strings.Join(got, ", "), step.want)
		}
	}

	table := s.extsync("channels", "list").ok(t)
	if lines := strings.Split(strings.TrimSpace(table), "\n"); len(lines) != 3 || !strings.HasPrefix(lines[0], "CHANNEL") {
		t.Errorf("list:\n%s", table)
	}
	var list struct {
		Channels []struct {
			Name        string
			Concurrency int
			Revision    uint64
		}
	}
	s.extsync("channels", "list", "--json").decode(t, &list)
	if len(list.Channels) != 2 || list.Channels[0].Concurrency != 3 || list.Channels[0].Revision == 0 {
		t.Errorf("list --json: %+v", list)
	}
	// What show writes is what apply reads.
	shown := s.file("shown.yaml", s.extsync("channels", "show", "b").ok(t))
	if got := s.changes("-f", shown); len(got.Channels) != 1 || got.Channels[0].Change != "unchanged" {
		t.Errorf("apply of what show wrote: %+v", got)
	}

	mode := s.file("mode.yaml", "channels: [{name: a, mode: every, connector: {kind: http, config: {url: 'https://a.example/x'}}}]")
	for _, args := range [][]string{{"-f", mode}, {"-f", mode, "--dry-run"}} {
		refused(t, s.extsync(append([]string{"channels", "apply"}, args...)...), cli.ExitUsage, "mode", "another name")
	}
	refused(t, s.extsync("channels", "show", "c"), cli.ExitUnknown, "c", "channels list")
}

// The files that people copy from must work as they are.
func TestExampleFiles(t *testing.T) {
	s := newSite(t)
	example := func(name string) string {
		path, err := filepath.Abs(filepath.Join("..", "..", "examples", name))
		if err != nil {
			t.Fatal(err)
		}
		return path
	}
	s.extsync("channels", "apply", "-f", example("channels.yaml"), "--config", example("extsync.yaml")).ok(t)
	s.extsync("channels", "list", "--config", example("extsync.yaml")).ok(t)
}
