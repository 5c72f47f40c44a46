package testdb

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"
)

const logName = "server.log"

// superviseScript is the parent of a server. It obeys one word per line and
// answers "done". When its input ends, because the test process closed it or is
// no more, it stops the server and removes the directory. A pipe's end cannot be
// missed, unlike Pdeathsig, which follows the thread that forked and not the
// process.
//
// A killed PostgreSQL leaves its children behind for a moment, and they would
// keep the next one from starting; the sessions of a killed sshd go on. All that
// descends from a server is killed with it, and gone when the answer comes: its ports are
// free. They are stopped before, until there are no new ones: an sshd that lets somebody in
// has just then a child which has a child.
const superviseScript = `
dir=$1 signal=$2; shift 2
server=
alive() {
	grep -q '^State:.[^ZX]' /proc/$1/status 2>/dev/null
}
living() {
	for child in $(cat /proc/$1/task/$1/children 2>/dev/null); do
		alive $child && echo $child
		living $child # which changes $child
	done
}
end() {
	[ -n "$server" ] || return 0
	stopped= all=$server
	while [ "$1" = KILL ] && [ "$all" != "$stopped" ]; do
		kill -STOP $all 2>/dev/null
		stopped=$all all="$server $(living $server)"
	done
	kill -"$1" $all 2>/dev/null
	wait $server
	for one in $all; do
		while alive $one; do :; done
	done
	server=
}
while read -r word; do
	case $word in
	start) end KILL; "$@" </dev/null >>"$dir/` + logName + `" 2>&1 & server=$! ;;
	kill) end KILL ;;
	esac
	echo done
done
end "$signal"
cd / && rm -rf "$dir"
`

// answerWithin is the time that the supervisor has for one word.
const answerWithin = 30 * time.Second

type supervisor struct {
	cmd     *exec.Cmd
	in      io.WriteCloser
	out     *os.File
	answers *bufio.Reader
}

// supervise starts a supervisor in a session of its own, so that the signals
// that a terminal sends to the tests pass it by.
func supervise(dir string, o *owner, signal string, server []string) (*supervisor, error) {
	argv := append([]string{"/bin/sh", "-c", superviseScript, "testdb", dir, signal}, server...)
	cmd := o.command(context.Background(), dir, argv)
	cmd.SysProcAttr.Setsid = true
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, answers, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	cmd.Stdout = answers
	err = cmd.Start()
	if err = errors.Join(err, answers.Close()); err != nil {
		return nil, errors.Join(err, in.Close(), out.Close())
	}
	return &supervisor{cmd: cmd, in: in, out: out, answers: bufio.NewReader(out)}, nil
}

// tell sends one word and waits until it is done.
func (s *supervisor) tell(word string) error {
	if _, err := io.WriteString(s.in, word+"\n"); err != nil {
		return fmt.Errorf("supervisor: %w", err)
	}
	if err := s.out.SetReadDeadline(time.Now().Add(answerWithin)); err != nil {
		return fmt.Errorf("supervisor: %w", err)
	}
	answer, err := s.answers.ReadString('\n')
	if err != nil {
		return fmt.Errorf("supervisor: %w", err)
	}
	if strings.TrimSpace(answer) != "done" {
		return fmt.Errorf("supervisor answered %q", answer)
	}
	return nil
}

// close ends the server and removes its directory.
func (s *supervisor) close() error {
	return errors.Join(s.in.Close(), s.cmd.Wait(), s.out.Close())
}
