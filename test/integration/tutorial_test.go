package integration

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/hms-utl/extsync/internal/cli"
	"github.com/hms-utl/extsync/internal/testdb"
)

// The tutorial is followed from its first command to its last, by somebody who keeps
// what is exported, on a database server of the test's own.
func TestTutorial(t *testing.T) {
	t.Parallel()
	db := testdb.StartPostgres(t)
	r := &reader{t: t, bin: t.TempDir(), dir: t.TempDir()}
	_, port, _ := strings.Cut(db.Addr(), ":")
	here := strings.NewReplacer("127.0.0.1:5432", db.Addr(), "PGPORT=5432", "PGPORT="+port)
	for _, b := range blocks(t, "docs/tutorial.md") {
		text := here.Replace(b.text)
		plan, argument, _ := strings.Cut(b.plan, " ")
		ok := t.Run(strings.ReplaceAll(b.at, "/", "_"), func(t *testing.T) {
			switch plan {
			case "packages": // make deps has installed them
				_, names, _ := strings.Cut(text, "install --yes ")
				for _, name := range strings.Fields(names) {
					if out, err := exec.CommandContext(t.Context(), "dpkg-query", "--show", name).CombinedOutput(); err != nil { //nolint:gosec // names of packages
						t.Errorf("%s is not installed: %v: %s", name, err, out)
					}
				}
			case "install":
				for _, name := range []string{"extsync", "publisher", "connector-worker"} { // the README is who installs them
					if err := os.Symlink(binary(t, name), filepath.Join(r.bin, name)); err != nil {
						t.Fatal(err)
					}
				}
			case "administrator":
				// The server's own user is its administrator, as with the package's.
				r.run(t, r.dir, "sh", "-euc", `sudo() { shift 2; "$@"; }; export PGHOST=127.0.0.1 PGUSER=postgres PGPORT=`+port+"\n"+text)
			case "file":
				if err := os.WriteFile(filepath.Join(r.dir, argument), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			case "service":
				b.text = strings.Replace(text, "extsync dev", "extsync dev --http-listen 127.0.0.1:0", 1) // the README has the usual one
				r.serve(t, b, strings.Trim(strings.TrimPrefix(argument, "until "), `"`))
			case "step":
				wantAfter(t, text, r.run(t, r.dir, "sh", "-euc", text))
				for line := range strings.Lines(text) {
					line, _, _ = strings.Cut(line, "#")
					if variables, ok := strings.CutPrefix(line, "export "); ok {
						r.env = append(r.env, strings.Fields(variables)...)
					}
				}
			case "stop":
				db.Stop(t)
			case "start":
				db.Start(t)
			default:
				t.Fatalf("nobody knows how to run a block with the plan %q", b.plan)
			}
		})
		if !ok {
			t.FailNow() // what comes later needs what was before
		}
	}
	for _, service := range r.services {
		service.signal(t, syscall.SIGTERM)
		if code := service.wait(t); code != cli.ExitOK {
			t.Errorf("exit code %d\n%s", code, service.stderr())
		}
	}
}

// wantAfter checks what the tutorial promises of a step, by a command that is in it.
func wantAfter(t *testing.T, step, out string) {
	t.Helper()
	for command, promised := range map[string]string{
		"SELECT id, title, due, version FROM policies\"": "Booster every year | 2026-12-31 |       1",
		"push policies_db p-1 2 ":                        "exit code 4",
		"import policies_db":                             "999 stored",
		"WHERE id = 'p-1'":                               "Edition 6",
		"edited by hand":                                 "exit code 8",
		"WHERE id = 'p-2'":                               "     0",
	} {
		if strings.Contains(step, command) && !strings.Contains(out, promised) {
			t.Errorf("it does not say %q:\n%s", promised, out)
		}
	}
}
