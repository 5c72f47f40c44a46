package faults

import "syscall"

// dieWithParent has the kernel kill the process when the thread that started it
// is no more. It is in a group of its own, so that the signals which a terminal
// sends to the tests pass it by.
func dieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}
