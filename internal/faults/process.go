//go:build unix

package faults

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A Crew starts processes that cannot outlive it. On Linux the kernel kills them
// when the thread that started them ends, however it ends, so one thread starts
// them all and lives as long as the crew.
type Crew struct{ starts chan func() }

// NewCrew returns a crew whose processes end with the test at the latest.
func NewCrew(t testing.TB) *Crew {
	t.Helper()
	c := &Crew{starts: make(chan func())}
	go func() {
		runtime.LockOSThread() // and never unlock: the thread ends with the goroutine
		for start := range c.starts {
			start()
		}
	}()
	t.Cleanup(func() { close(c.starts) })
	return c
}

// A Spec says what to run.
type Spec struct {
	Name string // in messages, and of the log file
	Path string
	Args []string
	Env  []string // besides PATH, HOME, TMPDIR and AllowHere; nothing else of the tests' own environment
}

// A Process is a running program of a crew. Its methods may be called
// concurrently.
type Process struct {
	Name string
	cmd  *exec.Cmd
	log  string
	done chan struct{} // closed when it has ended
}

// AllowHere are the settings with which a program lets channels reach targets on loopback,
// and use files below the tests' temporary directory.
func AllowHere() []string {
	return []string{
		"EXTSYNC_ALLOW_NETWORKS=127.0.0.0/8,::1/128", "EXTSYNC_ALLOW_FILES=" + os.TempDir(), "EXTSYNC_ALLOW_DATABASES=" + os.TempDir(),
		"EXTSYNC_ALLOW_PROGRAMS=" + os.TempDir(),
	}
}

// Start starts a program. If the test fails, the end of what the program has
// logged is shown.
func (c *Crew) Start(t testing.TB, s Spec) *Process {
	t.Helper()
	dir := t.TempDir()
	p := &Process{Name: s.Name, log: filepath.Join(dir, s.Name+".log"), done: make(chan struct{})}
	log, err := os.Create(p.log)
	if err != nil {
		t.Fatalf("start %s: %v", s.Name, err)
	}
	defer func() { _ = log.Close() }() // the process has its own
	p.cmd = exec.CommandContext(context.Background(), s.Path, s.Args...)
	p.cmd.Env = slices.Concat([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "TMPDIR=" + dir}, AllowHere(), s.Env)
	p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = dir, log, log
	p.cmd.SysProcAttr = dieWithParent()
	started := make(chan error)
	c.starts <- func() { started <- p.cmd.Start() }
	if err := <-started; err != nil {
		t.Fatalf("start %s: %v", s.Name, err)
	}
	go func() {
		defer close(p.done)
		_ = p.cmd.Wait() // ProcessState tells
	}()
	t.Cleanup(func() {
		p.Kill()
		if t.Failed() {
			t.Logf("the end of the log of %s:\n%s", s.Name, p.LogTail(8<<10))
		}
	})
	return p
}

// Kill ends the process with SIGKILL, as a crash would, and returns when it is
// gone. Killing twice is no harm.
func (p *Process) Kill() {
	p.signal(syscall.SIGKILL)
	<-p.done
}

// Freeze stops the process with SIGSTOP: it does nothing, and its connections
// stay.
func (p *Process) Freeze() { p.signal(syscall.SIGSTOP) }

// Thaw lets a frozen process go on.
func (p *Process) Thaw() { p.signal(syscall.SIGCONT) }

// Terminate asks the process to end, with SIGTERM.
func (p *Process) Terminate() { p.signal(syscall.SIGTERM) }

// signal does nothing to a process that has ended: nobody else has got its
// number as long as it was not waited for, which os.Process watches over.
func (p *Process) signal(s syscall.Signal) {
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		panic(fmt.Sprintf("signal %s to %s: %v", s, p.Name, err)) // the system is broken
	}
}

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// ExitCode waits for the end and returns the exit code, -1 after a signal.
func (p *Process) ExitCode(within time.Duration) (int, error) {
	timer := time.NewTimer(within)
	defer timer.Stop()
	select {
	case <-p.done:
		return p.cmd.ProcessState.ExitCode(), nil
	case <-timer.C:
		return 0, fmt.Errorf("%s did not end in %s", p.Name, within)
	}
}

// Log returns all that the process has written to its outputs.
func (p *Process) Log() string {
	data, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return string(data)
}

// LogTail returns the last n bytes of Log.
func (p *Process) LogTail(n int) string {
	log := p.Log()
	return log[max(0, len(log)-n):]
}

// Resident returns how many bytes of memory the process occupies. It needs
// Linux.
func (p *Process) Resident() (int64, error) {
	status, err := os.ReadFile("/proc/" + strconv.Itoa(p.cmd.Process.Pid) + "/status")
	if err != nil {
		return 0, err
	}
	for line := range bytes.Lines(status) {
		if rest, ok := bytes.CutPrefix(line, []byte("VmRSS:")); ok {
			kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(string(rest)), " kB"), 10, 64)
			return kib << 10, err
		}
	}
	return 0, fmt.Errorf("%s has no VmRSS: it has ended", p.Name)
}
