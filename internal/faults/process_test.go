//go:build unix

package faults_test

import (
	"testing"
	"time"

	"github.com/hms-utl/extsync/internal/faults"
	"github.com/hms-utl/extsync/internal/testkit"
)

func TestProcessesAreControlled(t *testing.T) {
	crew := faults.NewCrew(t)
	start := func(name string) *faults.Process {
		return crew.Start(t, faults.Spec{Name: name, Path: "/bin/sh", Args: []string{"-c", "trap 'echo asked; exit 3' TERM; echo ready; while :; do sleep 0.01; done"}})
	}
	p := start("asked")
	testkit.Eventually(t, "the process is ready", func() bool { return p.Log() != "" })
	if rss, err := p.Resident(); err != nil || rss <= 0 {
		t.Errorf("memory %d, %v", rss, err)
	}
	p.Freeze()
	p.Terminate()
	select {
	case <-p.Done():
		t.Error("a frozen process has ended by itself")
	case <-time.After(50 * time.Millisecond):
	}
	p.Thaw()
	if code, err := p.ExitCode(testkit.Patience); err != nil || code != 3 || p.Log() != "ready\nasked\n" {
		t.Errorf("exit code %d, %v, log %q", code, err, p.Log())
	}
	q := start("killed")
	q.Kill()
	q.Kill()
	if code, err := q.ExitCode(testkit.Patience); err != nil || code != -1 {
		t.Errorf("exit code %d, %v", code, err)
	}
}
