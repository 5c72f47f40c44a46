package compare

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// stopWithin is how long a part may take to end when it is asked to.
const stopWithin = 60 * time.Second

// A process is a part of the benchmark that runs in a process of its own: this
// program again, told by PartCommand what to be. It ends when its standard input
// does, and so with the benchmark, however that ends.
type process struct {
	name string
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *bufio.Reader
	log  string
}

// start starts a part and reads its first line into ready.
func start(ctx context.Context, dir string, p Part, ready any) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	spec, err := json.Marshal(p)
	if err != nil {
		return nil, err
	}
	log, err := os.CreateTemp(dir, p.Role+"-*.log")
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }() // the part has its own
	cmd := exec.CommandContext(ctx, self, PartCommand, string(spec))
	cmd.Stderr = log
	cmd.WaitDelay = time.Second
	s := &process{name: p.Role, cmd: cmd, log: log.Name()}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	s.out = bufio.NewReader(out)
	if s.in, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	if err := s.read(ready); err != nil {
		return nil, errors.Join(err, s.stop())
	}
	return s, nil
}

// read reads the next line that the part writes.
func (s *process) read(v any) error {
	line, err := s.out.ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, v)
	}
	if err != nil {
		return fmt.Errorf("%s: %w; its log: %s", s.name, err, s.tail())
	}
	return nil
}

func (s *process) tail() string {
	data, err := os.ReadFile(s.log)
	if err != nil {
		return err.Error()
	}
	return string(data[max(0, len(data)-2000):])
}

// stop asks the part to end and waits for that.
func (s *process) stop() error {
	closed := s.in.Close()
	timer := time.AfterFunc(stopWithin, func() { _ = s.cmd.Process.Kill() }) // Wait tells
	defer timer.Stop()
	_, _ = io.Copy(io.Discard, s.out) // until it has ended
	if err := s.cmd.Wait(); err != nil {
		return fmt.Errorf("%s: %w; its log: %s", s.name, err, s.tail())
	}
	if errors.Is(closed, os.ErrClosed) {
		return nil
	}
	return closed
}

// usage is what a process has used so far.
type usage struct {
	CPU  time.Duration
	Peak int64 // bytes of memory that were in use at most
}

func (s *process) usage() (usage, error) {
	cpu, err := cpuTime(s.cmd.Process.Pid, false)
	if err != nil {
		return usage{}, err
	}
	peak, err := s.memory("VmHWM")
	return usage{CPU: cpu, Peak: peak}, err
}

// resident returns how many bytes of memory the process has now.
func (s *process) resident() (int64, error) { return s.memory("VmRSS") }

func (s *process) memory(what string) (int64, error) {
	text := field(procFile(s.cmd.Process.Pid, "status"), what)
	if text == "" {
		return 0, fmt.Errorf("%s has ended", s.name)
	}
	kib, err := strconv.ParseInt(strings.TrimSuffix(text, " kB"), 10, 64)
	return kib << 10, err
}

func procFile(pid int, name string) string {
	return filepath.Join("/proc", strconv.Itoa(pid), name)
}

// tick is the unit of the times in /proc: the kernel shows 100 a second to
// programs on every architecture that Go runs on.
const tick = 10 * time.Millisecond

// cpuTime returns the CPU time of a process, with that of its children that have
// ended if asked.
func cpuTime(pid int, children bool) (time.Duration, error) {
	fields, err := stat(pid)
	if err != nil {
		return 0, fmt.Errorf("CPU times need Linux: %w", err)
	}
	last := 13
	if children {
		last = 15
	}
	var sum time.Duration
	for _, f := range fields[11:last] {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, err
		}
		sum += time.Duration(n) * tick
	}
	return sum, nil
}

// stat returns the fields of /proc/<pid>/stat behind the name, which can hold
// anything: state, parent, ...
func stat(pid int) ([]string, error) {
	data, err := os.ReadFile(procFile(pid, "stat"))
	if err != nil {
		return nil, err
	}
	text := string(data)
	fields := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
	if len(fields) < 15 {
		return nil, fmt.Errorf("%s has %d fields", procFile(pid, "stat"), len(fields))
	}
	return fields, nil
}

// treeCPU returns the CPU time of a process and all below it.
func treeCPU(root int) (time.Duration, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return 0, fmt.Errorf("CPU times need Linux: %w", err)
	}
	children := map[int][]int{}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		fields, err := stat(pid)
		if err != nil {
			continue // it has ended meanwhile
		}
		if parent, err := strconv.Atoi(fields[1]); err == nil {
			children[parent] = append(children[parent], pid)
		}
	}
	var sum time.Duration
	for todo := []int{root}; len(todo) > 0; {
		pid := todo[0]
		todo = append(todo[1:], children[pid]...)
		if cpu, err := cpuTime(pid, true); err == nil {
			sum += cpu
		}
	}
	return sum, nil
}
