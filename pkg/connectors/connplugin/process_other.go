//go:build !linux

package connplugin

import (
	"os"
	"syscall"
)

// attributes put the process at the head of a group. Only Linux ends it with the worker
// whatever happens; elsewhere the end of its input must do.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// awaitExit is for systems in which a process can be watched without being waited for.
func awaitExit(*os.Process) {}
