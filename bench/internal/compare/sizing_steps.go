package compare

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/hms-utl/extsync/internal/operate"
	"github.com/hms-utl/extsync/pkg/events"
)

// audits is how often a channel is audited. The median counts.
const audits = 3

// audited is what a process says that has audited a channel.
type audited struct {
	Took        time.Duration `json:"took"`
	Looked      int64         `json:"looked"`
	Differences int64         `json:"differences"`
	Compared    bool          `json:"compared"`
}

// audit audits the channel, which has no difference.
func (z *sizer) audit(ctx context.Context) error {
	var all []Speed
	for range audits {
		speed, err := z.timed(func() (time.Duration, error) { return z.auditOnce(ctx) })
		if err != nil {
			return err
		}
		all = append(all, speed)
	}
	slices.SortFunc(all, func(a, b Speed) int { return int(a.Rate - b.Rate) })
	z.size.Audit = all[len(all)/2]
	return nil
}

func (z *sizer) auditOnce(ctx context.Context) (_ time.Duration, err error) {
	part := Part{Role: roleAudit, URL: z.url, Dir: z.dir, Channel: z.channelName(0), Profile: z.profile(roleAudit)}
	p, err := start(ctx, z.dir, part, &address{})
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, p.stop()) }()
	var done audited
	if err := p.read(&done); err != nil {
		return 0, err
	}
	if done.Looked != int64(z.s.keys) || done.Differences != 0 || !done.Compared {
		return 0, fmt.Errorf("%w: of %d keys the audit says %+v", errWrong, z.s.keys, done)
	}
	u, err := p.usage()
	if err != nil {
		return 0, err
	}
	z.size.Auditor = max(z.size.Auditor, u.Peak)
	z.spend(roleAudit, u.CPU)
	return done.Took, nil
}

// runAudit audits a channel, writes what came of it, and waits to be ended.
func runAudit(ctx context.Context, p Part, out io.Writer) error {
	if err := json.NewEncoder(out).Encode(address{}); err != nil {
		return err
	}
	from := time.Now()
	client, err := operate.Connect(ctx, p.config(), quiet())
	if err != nil {
		return err
	}
	defer client.Close()
	sum, err := client.Audit(ctx, p.Channel, func(operate.Finding) error { return nil }, func(operate.AuditSummary) {})
	if err != nil {
		return err
	}
	done := audited{Took: time.Since(from), Looked: sum.Looked, Differences: sum.Differences(), Compared: sum.Compared}
	if err := json.NewEncoder(out).Encode(done); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

// timed measures a step that says how long it took, and the CPU time of all processes that
// are there all the time. Those that are not call spend.
func (z *sizer) timed(step func() (time.Duration, error)) (Speed, error) {
	z.spent = map[string]time.Duration{}
	before, err := z.cpu()
	if err != nil {
		return Speed{}, err
	}
	took, err := step()
	if err != nil {
		return Speed{}, err
	}
	after, err := z.cpu()
	if err != nil {
		return Speed{}, err
	}
	speed := Speed{Rate: float64(z.s.keys) / took.Seconds(), CPU: map[string]time.Duration{}}
	for name, cpu := range after {
		if name != self {
			speed.CPU[name] = (cpu - before[name]) / time.Duration(z.s.keys)
		}
	}
	for name, cpu := range z.spent {
		speed.CPU[name] = cpu / time.Duration(z.s.keys)
	}
	return speed, nil
}

// spend notes the CPU time of a process that began and ends within a step.
func (z *sizer) spend(name string, cpu time.Duration) { z.spent[name] += cpu }

// times are those of a command.
type times struct{ real, cpu time.Duration }

// command runs the command extsync from its start to its end.
func (z *sizer) command(ctx context.Context, args ...string) (times, error) {
	cmd := exec.CommandContext(ctx, z.program, args...)
	cmd.Env = []string{"HOME=" + z.dir, "TMPDIR=" + z.dir, "EXTSYNC_NATS_URL=" + z.url}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	from := time.Now()
	if err := cmd.Run(); err != nil {
		return times{}, fmt.Errorf("extsync %s: %w: %s", strings.Join(args, " "), err, out.Bytes())
	}
	return times{time.Since(from), cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()}, nil
}

func buildExtsync(ctx context.Context, dir string) (string, error) {
	path := filepath.Join(dir, "extsync")
	cmd := exec.CommandContext(ctx, "go", "build", "-o", path, "./cmd/extsync")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build extsync; run this in the directory of the project, or give --extsync: %w: %s", err, out)
	}
	return path, nil
}

// writeKeys writes a file to import.
func writeKeys(path string, keys int) (err error) {
	f, err := os.Create(filepath.Clean(path))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	w := bufio.NewWriter(f)
	lines := json.NewEncoder(w)
	err = load{keys: keys, updates: keys}.each("", func(u events.Update) error {
		return lines.Encode(map[string]any{"key": u.Key, "version": u.Version, "payload": json.RawMessage(u.Payload)})
	})
	return errors.Join(err, w.Flush())
}

// filesOf returns the size of all files below a directory.
func filesOf(dir string) (size int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) { // the broker has removed it
			return nil
		}
		if err == nil {
			size += info.Size()
		}
		return err
	})
	return size, err
}

func medianTime(all []time.Duration) time.Duration {
	slices.Sort(all)
	return all[len(all)/2]
}

// loadAverage returns that of the last minute; "" where the system does not tell.
func loadAverage() string {
	data, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return ""
	}
	first, _, _ := strings.Cut(string(data), " ")
	return first
}
