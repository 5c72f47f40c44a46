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
	t.Parallel()
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
			Name, State string
			Revision    uint64
		}
	}
	s.extsync("channels", "list", "--json").decode(t, &list)
	if len(list.Channels) != 2 || list.Channels[0].State != "active" || list.Channels[0].Revision == 0 {
		t.Errorf("list --json: %+v", list)
	}
	var configured struct{ Config struct{ Concurrency int } }
	s.extsync("channels", "show", "a", "--json").decode(t, &configured)
	if configured.Config.Concurrency != 3 {
		t.Errorf("show --json: %+v", configured)
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
	t.Parallel()
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

// What --prune deletes is what the file does not name, once that is confirmed.
func TestApplyPrunes(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	all := s.file("all.yaml", `channels:
  - {name: a, connector: {kind: http, config: {url: "https://a.example/x"}}}
  - {name: b, connector: {kind: http, config: {url: "https://b.example/x"}}}`)
	one := s.file("one.yaml", "channels: [{name: a, concurrency: 3, connector: {kind: http, config: {url: 'https://a.example/x'}}}]")
	s.changes("-f", all, "--prune") // there is nothing to confirm
	refused(t, s.extsync("channels", "apply", "-f", one, "--prune"), cli.ExitUsage, "does not name: b", "--yes")
	var doc struct {
		Channels []struct{ Channel, Change string }
		Pruned   []string
	}
	for _, last := range []string{"--dry-run", "--yes"} {
		s.extsync("channels", "apply", "-f", one, "--prune", "--json", last).decode(t, &doc)
		if len(doc.Channels) != 1 || doc.Channels[0].Change != "changed" || len(doc.Pruned) != 1 || doc.Pruned[0] != "b" {
			t.Errorf("%s: %+v", last, doc)
		}
	}
	s.extsync("channels", "restore", "b").ok(t)
}

// An editor is a program that changes a file: a mistake opens it again, and nothing is done
// where somebody else was faster.
func TestChannelsEdit(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.changes("-f", s.file("a.yaml", "channels: [{name: a, connector: {kind: http, config: {url: 'https://a.example/x'}}}]"))
	edit := func(name, script string) program {
		p := s.extsync("channels", "edit", "a")
		p.env = append(p.env, "EDITOR=sh "+s.file(name, script))
		return p
	}
	if out := edit("as-it-is.sh", "true").ok(t); !strings.Contains(out, "a: nothing was changed") {
		t.Errorf("it says %s", out)
	}
	// A mistake first, then what is right.
	mistake := `if grep -q concurency "$1"; then sed -i 's/concurency: 3/concurrency: 3/' "$1"; else sed -i 's/concurrency: .*/concurency: 3/' "$1"; fi`
	if out := edit("mistake.sh", mistake).ok(t); !strings.Contains(out, "a: changed") {
		t.Errorf("it says %s", out)
	}
	if out := s.extsync("channels", "show", "a").ok(t); !strings.Contains(out, "concurrency: 3") {
		t.Errorf("it shows %s", out)
	}
	if e := edit("gives-up.sh", `sed -i 's/name: a/name: b/' "$1"`).run(t); e.code != cli.ExitOK || !strings.Contains(e.err, "edits channel a alone") {
		t.Errorf("exit code %d, it says %s", e.code, e.err)
	}
	other := s.file("other.yaml", "channels: [{name: a, concurrency: 9, connector: {kind: http, config: {url: 'https://a.example/x'}}}]")
	faster := strings.Join([]string{binary(t, "extsync"), "channels", "apply", "-f", other, ">/dev/null"}, " ")
	refused(t, edit("slow.sh", `sed -i 's/concurrency: .*/concurrency: 4/' "$1"; `+faster), cli.ExitRefused, "what you wrote is in")
	if out := s.extsync("channels", "show", "a").ok(t); !strings.Contains(out, "concurrency: 9") {
		t.Errorf("it shows %s", out)
	}
	refused(t, edit("none.sh", "exit 3"), cli.ExitUsage, "editor sh: exit status 3; nothing was applied")
	missing := s.extsync("channels", "edit", "a")
	missing.env = append(missing.env, "EDITOR=no-such-editor")
	refused(t, missing, cli.ExitUsage, "no-such-editor", "EDITOR names it: set it to one that is there")
}
