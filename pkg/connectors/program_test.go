package connectors_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/connectors"
)

// A channel starts what its worker's operator allows it, by whatever path, and nothing else.
func TestChannelsStartTheProgramsThatAreAllowed(t *testing.T) {
	dir := t.TempDir()
	plugins, outside := filepath.Join(dir, "plugins"), filepath.Join(dir, "outside")
	mine := program(t, filepath.Join(plugins, "mine"))
	foreign, single := program(t, filepath.Join(outside, "foreign")), program(t, filepath.Join(outside, "single"))
	write(t, filepath.Join(plugins, "text"), "no program")
	inside := link(t, mine, filepath.Join(plugins, "inside"))
	out, nothing := link(t, foreign, filepath.Join(plugins, "out")), link(t, outside, filepath.Join(plugins, "elsewhere"))
	host := allow(connectors.Grant{Programs: connectors.List{plugins, single}})
	host.Allow.Channels = connectors.Grants{"none": {Programs: connectors.List{}}}
	env := host.Env("erp")
	for path, want := range map[string]string{mine: mine, inside: mine, single: single, plugins + "/../plugins/mine": mine} {
		if got, err := env.Program(path); err != nil || got != want {
			t.Errorf("%s: %q, %v", path, got, err)
		}
	}
	for path, says := range map[string]string{
		foreign: "allow.programs (EXTSYNC_ALLOW_PROGRAMS)", out: "allow.programs", nothing + "/foreign": "allow.programs",
		plugins + "/../outside/foreign": "allow.programs", single + "x": "allow.programs", "/bin/sh": "allow.programs",
		"mine": "absolute", "": "absolute", plugins: "cannot be started", plugins + "/text": "cannot be started", plugins + "/missing": "no such file",
	} {
		got, err := env.Program(path)
		if connectors.ClassOf(err) != connectors.Misconfigured || got != "" || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %q, %v; want it to say %s", path, got, err, says)
		}
	}
	if got, err := host.Env("none").Program(mine); err == nil || !strings.Contains(err.Error(), "allow.channels.none.programs") {
		t.Errorf("a channel whose list is empty: %q, %v", got, err)
	}
	if got, err := connectors.Env.Program(connectors.Env{}, mine); err == nil {
		t.Errorf("nothing is allowed: %q", got)
	}
	if got, err := env.ForPreview(connectors.Hidden).Program(mine); err == nil {
		t.Errorf("for a preview: %q", got)
	}
}

func program(t *testing.T, path string) string {
	t.Helper()
	write(t, path, "#!/bin/sh\n")
	testkit.Must(t, os.Chmod(path, 0o700))
	return path
}
