package integration

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hms-utl/extsync/internal/testkit"
)

// A new kind is a package of its own and a line in the catalog: the template is laid over
// this module, passes the suite, and is in the programs.
func TestANewKindIsAPackageAndALine(t *testing.T) {
	t.Parallel()
	root, err := filepath.Abs(filepath.Join("..", ".."))
	testkit.Must(t, err)
	in := func(parts ...string) string { return filepath.Join(append([]string{root}, parts...)...) }
	const catalog = "pkg/connectors/kinds/kinds.go"
	text, err := os.ReadFile(in(catalog))
	testkit.Must(t, err)
	const path = `"github.com/hms-utl/extsync/pkg/connectors/`
	changed := strings.NewReplacer(
		path+"connhttp\"\n", path+"connhttp\"\n\t"+path+"connmemory\"\n",
		"connhttp.Kind(),\n", "connhttp.Kind(),\n\t\tconnmemory.Kind(),\n",
	).Replace(string(text))
	dir := t.TempDir()
	newCatalog := filepath.Join(dir, "catalog.go")
	testkit.Must(t, os.WriteFile(newCatalog, []byte(changed), 0o600))
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{
		in(catalog): newCatalog,
		in("pkg/connectors/connmemory/connmemory.go"):      in("test/integration/testdata/newkind/connmemory.go.txt"),
		in("pkg/connectors/connmemory/connmemory_test.go"): in("test/integration/testdata/newkind/connmemory_test.go.txt"),
	}})
	testkit.Must(t, err)
	file := filepath.Join(dir, "overlay.json")
	testkit.Must(t, os.WriteFile(file, overlay, 0o600))
	run := func(name string, args ...string) string {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 2*testkit.Patience)
		defer cancel()
		cmd := exec.CommandContext(ctx, name, args...)
		cmd.Dir = root
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s %v: %v\n%s", name, args, err, out)
		}
		return string(out)
	}
	suite := filepath.Join(dir, "suite") // go test would run it in its directory, which is not there
	run("go", "test", "-c", "-vet=off", "-overlay", file, "-o", suite, "./pkg/connectors/connmemory")
	run(suite)
	if out := run("go", "run", "-overlay", file, "./cmd/extsync", "kinds"); !strings.Contains(out, "memory the newest version of each key, in memory\n       guard atomic; keeps digests and tombstones; can be read\n") {
		t.Errorf("extsync kinds:\n%s", out)
	}
}
