package connplugin

import (
	"errors"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// attributes have the kernel kill the process when the thread ends that started it, and
// put it at the head of a group.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// awaitExit returns when the process has exited. Its number is not given to another
// process before it is waited for.
func awaitExit(p *os.Process) {
	for errors.Is(unix.Waitid(unix.P_PID, p.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil), unix.EINTR) {
		continue
	}
}
