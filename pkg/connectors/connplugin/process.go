package connplugin

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"github.com/hms-utl/extsync/pkg/connectors"
)

// A process is a program that runs, with the worker's ends of its pipes.
type process struct {
	cmd            *exec.Cmd
	stdin          *os.File
	stdout, stderr *os.File
	exited         chan struct{} // closed once the process has exited

	mu   sync.Mutex
	gone bool // its number may be another's
}

// startProcess starts a program. It has nothing of the worker's environment but PATH.
func startProcess(path string, command []string) (*process, error) {
	var files []*os.File
	pipe := func() (r, w *os.File) {
		r, w, err := os.Pipe()
		if err != nil {
			return nil, nil
		}
		files = append(files, r, w)
		return r, w
	}
	inR, inW := pipe()
	outR, outW := pipe()
	errR, errW := pipe()
	const pipes = 3
	if len(files) < 2*pipes {
		closeAll(files)
		return nil, errors.New("no pipe could be made")
	}
	cmd := &exec.Cmd{
		Path: path, Args: command, Dir: "/", Env: []string{"PATH=" + os.Getenv("PATH")},
		Stdin: inR, Stdout: outW, Stderr: errW, SysProcAttr: attributes(),
	}
	if err := cmd.Start(); err != nil {
		closeAll(files)
		return nil, startError(command[0], err)
	}
	closeAll([]*os.File{inR, outW, errW})
	return &process{cmd: cmd, stdin: inW, stdout: outR, stderr: errR, exited: make(chan struct{})}, nil
}

// startError tells what an operator must mend from what passes, such as a program that is
// being replaced.
func startError(program string, err error) error {
	e := &connectors.Error{Code: "program", Err: fmt.Errorf("the program %s cannot be started: %w", program, err)}
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.ENOEXEC) {
		e.Class = connectors.Misconfigured
	}
	return e
}

func closeAll(files []*os.File) {
	for _, f := range files {
		_ = f.Close() // nothing is left to do with it
	}
}

// wait returns how the process ended, once it has. Whatever else is in its group is killed
// before its number is given away.
func (p *process) wait() (status string) {
	awaitExit(p.cmd.Process)
	p.kill()
	p.mu.Lock()
	p.gone = true
	p.mu.Unlock()
	_ = p.cmd.Wait() // its state tells more than the error
	close(p.exited)
	// A child that has left the group may hold the pipes open.
	late := time.Now().Add(drainTime)
	_ = p.stdout.SetReadDeadline(late)
	_ = p.stderr.SetReadDeadline(late)
	p.closeInput()
	return p.cmd.ProcessState.String()
}

// kill ends the process and its group.
func (p *process) kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.gone {
		_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) // the group may be empty
	}
}

// exitWithin waits until the process has exited, or the time is over.
func (p *process) exitWithin(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-p.exited:
	case <-timer.C:
	}
}

// closeInput tells the process that nothing more comes.
func (p *process) closeInput() { _ = p.stdin.Close() }

func (p *process) closePipes() { closeAll([]*os.File{p.stdin, p.stdout, p.stderr}) }
