package connplugin_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/hms-utl/extsync/internal/testkit/plugged"
)

// A hostile is a plugin that does one thing wrong, once: when it is started again it is
// sound.
type hostile struct {
	mode, dir string
	server    *plugged.Server
	out       io.Writer
}

// beHostile is the plugin of a mode. It leaves the number of each of its processes in dir.
func beHostile(args []string, server *plugged.Server) error {
	h := &hostile{mode: args[0], dir: args[1], server: server, out: os.Stdout}
	if h.mode != "nothing" {
		h.leaveNumber(os.Getpid())
	}
	if h.mode == "tells all" {
		_ = os.WriteFile(filepath.Join(h.dir, "all"), []byte(strings.Join(append(os.Environ(), os.Args...), "\n")), 0o600)
	}
	if strings.HasPrefix(h.mode, "ignores") {
		signal.Ignore(syscall.SIGTERM, syscall.SIGHUP, syscall.SIGINT)
	}
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 64<<20)
	for lines.Scan() {
		var req plugged.Request
		if err := json.Unmarshal(lines.Bytes(), &req); err != nil {
			return err
		}
		if req.Method == "open" { // the file connector takes nothing else
			req.Config = fmt.Appendf(nil, `{"directory":%q}`, filepath.Join(h.dir, "data"))
		}
		if h.misbehaves(&req) {
			continue
		}
		h.answer(&req)
	}
	if h.mode == "ignores its end" {
		time.Sleep(time.Hour) //nolint:forbidigo // it is to be killed
	}
	return nil
}

func (h *hostile) leaveNumber(pid int) {
	_ = os.WriteFile(filepath.Join(h.dir, fmt.Sprintf("%d.pid", pid)), nil, 0o600)
}

func (h *hostile) answer(req *plugged.Request) {
	if h.mode == "nothing" && req.Method == "apply" { // it says that all is done, and does nothing
		h.say(fmt.Sprintf(`{"id":%d,"results":[%s{"class":"ok"}]}`+"\n", req.ID, strings.Repeat(`{"class":"ok"},`, len(req.Attempts)-1)))
		return
	}
	answer, _ := json.Marshal(h.server.Answer(context.Background(), req))
	_, _ = h.out.Write(append(answer, '\n'))
}

func (h *hostile) say(text string) { _, _ = io.WriteString(h.out, text) }

// once reports whether nobody has misbehaved before.
func (h *hostile) once() bool {
	f, err := os.OpenFile(filepath.Join(h.dir, "misbehaved"), os.O_CREATE|os.O_EXCL, 0o600)
	if err == nil {
		_ = f.Close()
	}
	return !errors.Is(err, fs.ErrExist)
}

// misbehaves does what the mode says, if the request is the one for it. It reports whether
// the request has been answered, or never will be.
func (h *hostile) misbehaves(req *plugged.Request) bool {
	at, what, _ := strings.Cut(h.mode, ": ")
	if at != req.Method || !h.once() {
		return false
	}
	switch what {
	case "dies":
		os.Exit(3)
	case "dies after its work":
		h.server.Answer(context.Background(), req)
		os.Exit(3)
	case "dies after its answer":
		h.answer(req)
		os.Exit(3)
	case "answers twice":
		h.answer(req)
		h.answer(req)
	case "answers another":
		req.ID += 7
		h.answer(req)
	case "never answers":
	case "hangs", "ignores": // and reads nothing
		time.Sleep(time.Hour) //nolint:forbidigo // it is to be killed
	case "100 MB":
		megabyte := strings.Repeat("x", 1<<20)
		h.say(`{"id":`)
		for range 100 {
			h.say(megabyte)
		}
	case "garbage":
		h.say("Traceback (most recent call last): swordfish\n")
	case "half an answer":
		h.say(fmt.Sprintf(`{"id":%d,"resu`, req.ID))
		os.Exit(0)
	case "closes its output":
		_ = os.Stdout.Close()
	case "too few results":
		h.say(fmt.Sprintf("{\"id\":%d,\"results\":[]}\n", req.ID))
	case "a class that is none":
		h.say(fmt.Sprintf("{\"id\":%d,\"results\":[{\"class\":\"swordfish\"}]}\n", req.ID))
	case "speaks another version":
		h.say(fmt.Sprintf("{\"id\":%d,\"protocol\":2}\n", req.ID))
	case "can nothing":
		h.say(fmt.Sprintf("{\"id\":%d,\"protocol\":1}\n", req.ID))
	case "refuses its configuration":
		h.say(fmt.Sprintf("{\"id\":%d,\"error\":{\"class\":\"misconfigured\",\"code\":\"no table\",\"message\":\"there is\\nno swordfish\"}}\n", req.ID))
	case "floods":
		line := strings.Repeat("swordfish ", 500) + "\n"
		for range 1000 {
			_, _ = os.Stderr.WriteString(line)
		}
		h.answer(req)
	case "leaves a child":
		h.fork(&syscall.SysProcAttr{})
		h.answer(req)
	case "dies and leaves a child":
		h.fork(&syscall.SysProcAttr{})
		os.Exit(3)
	case "dies and leaves a child of its own":
		h.fork(&syscall.SysProcAttr{Setsid: true})
		os.Exit(3)
	}
	return true
}

// fork starts a child that holds the plugin's pipes.
func (h *hostile) fork(attributes *syscall.SysProcAttr) {
	child := exec.CommandContext(context.Background(), "/bin/sleep", "60")
	child.Stdin, child.Stdout, child.Stderr, child.SysProcAttr = os.Stdin, os.Stdout, os.Stderr, attributes
	if err := child.Start(); err != nil {
		panic(err)
	}
	if !attributes.Setsid {
		h.leaveNumber(child.Process.Pid)
	} else {
		_ = os.WriteFile(filepath.Join(h.dir, "own"), []byte(fmt.Sprint(child.Process.Pid)), 0o600)
	}
}
