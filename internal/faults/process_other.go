//go:build unix && !linux

package faults

import "syscall"

// dieWithParent leaves it to the test's end to kill the process: only Linux can
// do it when the tests die without one.
func dieWithParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
