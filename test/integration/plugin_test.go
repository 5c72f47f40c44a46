package integration

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hms-utl/extsync/internal/faults"
	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// A journal is what a plugin without a guard has written, with all of its processes.
type journal struct {
	path string
}

type journalLine struct {
	Key     string
	Version versioning.Version
	Digest  versioning.Digest
	Op      events.Op
	Attempt int
	PID     int
	Left    int64
	At      float64
}

func (j journal) lines(t testing.TB) (all []journalLine) {
	t.Helper()
	data, err := os.ReadFile(j.path)
	testkit.Must(t, err)
	lines := bufio.NewScanner(bytes.NewReader(data))
	for lines.Scan() {
		var line journalLine
		decodeJSON(t, lines.Text(), &line)
		all = append(all, line)
	}
	return all
}

// processes returns those that have written.
func (j journal) processes(t testing.TB) map[int]bool {
	t.Helper()
	out := map[int]bool{}
	for _, line := range j.lines(t) {
		out[line.PID] = true
	}
	return out
}

func (j journal) history(t testing.TB) faults.History {
	h := faults.History{Held: map[string]versioning.Tag{}}
	for _, l := range j.lines(t) {
		tag := versioning.Tag{Version: l.Version, Digest: l.Digest}
		h.Writes = append(h.Writes, faults.Write{Key: l.Key, Tag: tag, Op: l.Op, Attempt: l.Attempt, Worker: strconv.Itoa(l.PID)})
		h.Held[l.Key] = tag
	}
	return h
}

// Workers are killed and frozen around plugins that compare nothing. Nothing goes backwards,
// no plugin outlives a worker that was killed, and none has more time than its worker's lease.
func TestPluginsOfWorkersKilledAndFrozen(t *testing.T) {
	t.Parallel()
	rounds := sized(t, "rounds", 2, 40)
	r := newRig(t)
	dir := t.TempDir()
	script, err := os.ReadFile(filepath.Join("testdata", "plugin", "journal.py"))
	testkit.Must(t, err)
	program := filepath.Join(dir, "journal.py")
	testkit.Must(t, os.WriteFile(program, append([]byte("#!"+python(t)+"\n"), script...), 0o700))
	j := journal{filepath.Join(dir, "journal")}
	r.channel("c", channels.Latest, "plugin", map[string]any{"command": []string{program}, "config": map[string]any{"journal": j.path}})
	l := load{channel: "c", keys: 50, updates: rounds * 500, over: time.Duration(rounds) * (2*leaseTTL + 2*time.Second)}
	p := r.publish(l)
	workers := []*faults.Process{r.worker("w0"), r.worker("w1")}
	dice, started := rand.New(rand.NewPCG(5, 3)), 2
	for round := range rounds {
		r.pass(time.Duration(500+dice.IntN(1000)) * time.Millisecond)
		i := dice.IntN(2)
		if round%2 == 0 {
			workers[i].Kill()
			workers[i] = r.worker(fmt.Sprintf("w%d", started))
			started++
			continue
		}
		workers[i].Freeze()
		r.pass(2 * leaseTTL)
		workers[i].Thaw()
	}
	accepted := p.wait(r)
	// Who was started last may have got its partitions when all was delivered.
	more := 0
	testkit.Eventually(t, "three processes of the plugin to have written", func() bool {
		if len(j.processes(t)) >= 3 {
			return true
		}
		more++
		accepted = append(accepted, r.publish(load{channel: "c", keys: 50, updates: 50, prefix: fmt.Sprintf("more%d-", more)}).wait(r)...)
		return false
	})
	r.check("c", channels.Latest, accepted, func() (faults.History, error) { return j.history(t), nil })
	for _, line := range j.lines(t) {
		if line.Left > leaseTTL.Milliseconds() {
			t.Fatalf("an attempt had %d ms until it had to begin, and the lease lasts %s", line.Left, leaseTTL)
		}
	}
	processes := j.processes(t)
	for pid := range processes {
		testkit.Eventually(t, fmt.Sprintf("process %d has ended", pid), func() bool { return !runs(pid, program) })
	}
}

// runs reports whether a process runs a program.
func runs(pid int, program string) bool {
	if errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
		return false
	}
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return err == nil && strings.Contains(string(line), program)
}
