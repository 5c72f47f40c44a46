// Package integration tests the programs as people run them: real binaries, a
// real broker, real targets.
package integration

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
)

// binaries is the directory with the programs of this repository.
var binaries string //nolint:gochecknoglobals // TestMain has no other way to hand it to the tests

func TestMain(m *testing.M) { os.Exit(buildAndRun(m)) }

func buildAndRun(m *testing.M) int {
	if dsn := os.Getenv(platformVariable); dsn != "" {
		return runPlatform(dsn)
	}
	dir, err := os.MkdirTemp("", "extsync-binaries-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }() // a temporary directory
	binaries = dir
	build := exec.CommandContext(context.Background(), "go", "build", "-o", dir, "./cmd/...")
	build.Dir = filepath.Join("..", "..")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build the programs: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// binary returns the path of a program of this repository.
func binary(t testing.TB, name string) string {
	t.Helper()
	path := filepath.Join(binaries, name)
	if runtime.GOOS == "windows" {
		path += ".exe"
	}
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		t.Fatalf("there is no program %s in cmd/", name)
	}
	return path
}
