package sim_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	mrand "math/rand"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// What `make sim` sets: the first seed, how many there are, and how often each is run.
const (
	simSeed  = "EXTSYNC_SIM_SEED"
	simN     = "EXTSYNC_SIM_N"
	simTimes = "EXTSYNC_SIM_TIMES"
)

const (
	// histories is how many are run where nobody says it, one in twenty of a new seed; at full
	// size fifty times as many, half of them of new seeds.
	histories = 400
	// blockOf histories are run by one process. Each takes some hundredths of a second: one
	// that takes historyMost stands still.
	blockOf     = 50
	historyMost = time.Minute
)

// Histories of everything that breaks, in simulated time, in processes of one thread each:
// what a seed does is then nearly always the same.
func TestHistories(t *testing.T) {
	blocks := blocksFromEnv(t)
	started := time.Now()
	n := simulate(t, t.Context(), os.Args[0], blocks, func(v violation) { t.Error(v) })
	t.Logf("%d histories in %s", n, time.Since(started).Round(time.Second))
	want := uint64(0)
	for _, b := range blocks {
		want += b.n * b.times
	}
	if uint64(n) != want && !t.Failed() { //nolint:gosec // not negative
		t.Errorf("%d histories came to an end, of %d", n, want)
	}
}

// A block is some seeds in a row, each run some times.
type block struct {
	first, n, times uint64
	tells           bool // what happened, until something is violated
}

func blocksFromEnv(t testing.TB) []block {
	t.Helper()
	if os.Getenv(simSeed) != "" {
		first, n, times := numberFrom(t, simSeed, 1), numberFrom(t, simN, 1), numberFrom(t, simTimes, 1)
		if n == 1 {
			return []block{{first, 1, times, true}}
		}
		return blocksOf(first, n, times)
	}
	n, fresh := uint64(histories), uint64(histories/20)
	switch {
	case raced:
		n, fresh = 20, 10
	case os.Getenv("EXTSYNC_TEST_FULL") != "":
		n, fresh = 50*histories, 25*histories
	}
	from := uint64(time.Now().Unix()) % 1_000_000_000 * 1000 //nolint:gosec // not negative
	t.Logf("seeds 1 to %d, %d that have found faults, and new ones: %d to %d", n-fresh, len(mended), from, from+fresh-1)
	blocks := append(blocksOf(1, n-fresh, 1), blocksOf(from, fresh, 1)...)
	for _, seed := range mended {
		blocks = append(blocks, block{seed, 1, 1, false})
	}
	return blocks
}

// mended are seeds that have found faults which are no more. They say so as long as plans are
// drawn as they are.
var mended = []uint64{837, 32705, 200375, 700269, 795908695040, 795908695515, 795908862898, 795913249303} //nolint:gochecknoglobals // a constant

func blocksOf(first, n, times uint64) (out []block) {
	for ; n > 0; first, n = first+min(n, blockOf), n-min(n, blockOf) {
		out = append(out, block{first, min(n, blockOf), times, false})
	}
	return out
}

func numberFrom(t testing.TB, variable string, otherwise uint64) uint64 {
	t.Helper()
	text := os.Getenv(variable)
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("%s: %q is not a number", variable, text)
	}
	return n
}

// A violation is what one history violates.
type violation struct {
	seed uint64
	what string
}

func (v violation) String() string {
	return fmt.Sprintf("seed %d: %s (make sim SEED=%d tells what happened)", v.seed, v.what, v.seed)
}

// simulate runs blocks in processes of a program, one for each CPU at a time, until ctx
// ends. It returns how many histories there were.
func simulate(t testing.TB, ctx context.Context, program string, blocks []block, found func(violation)) (ran int) {
	t.Helper()
	var mu sync.Mutex
	var wg sync.WaitGroup
	queue := make(chan block, len(blocks))
	for _, b := range blocks {
		queue <- b
	}
	close(queue)
	for range runtime.NumCPU() {
		wg.Go(func() {
			for b := range queue {
				n := b.run(ctx, t, program, func(v violation) {
					mu.Lock()
					defer mu.Unlock()
					found(v)
				})
				mu.Lock()
				ran += n
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return ran
}

// Lines of a process that runs a block begin with these.
const (
	saysBegin     = "BEGIN "
	saysViolation = "VIOLATION "
	saysNote      = "NOTE "
)

// run runs a block in a process, and returns how many histories came to an end.
func (b block) run(ctx context.Context, t testing.TB, program string, found func(violation)) (ran int) {
	if ctx.Err() != nil {
		return 0
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	late := time.AfterFunc(historyMost, func() { cancel(errStands) })
	defer late.Stop()
	cmd := exec.CommandContext(ctx, program, "-test.run=^TestBlock$", "-test.timeout=0") //nolint:gosec // ourselves
	cmd.Env = append(os.Environ(),
		fmt.Sprintf("%s=%d %d %d %t", simBlock, b.first, b.n, b.times, b.tells),
		"GOMAXPROCS=1", "GOGC=400", "GODEBUG=randseednop=0,asyncpreemptoff=1")
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGQUIT) } // it says where it stands
	cmd.WaitDelay = 10 * time.Second
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Error(err)
		return 0
	}
	var failure strings.Builder
	cmd.Stderr = &failure
	if err := cmd.Start(); err != nil {
		t.Error(err)
		return 0
	}
	seed := b.first
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		switch line := lines.Text(); {
		case strings.HasPrefix(line, saysBegin):
			ran++
			late.Reset(historyMost)
			seed, _ = strconv.ParseUint(line[len(saysBegin):], 10, 64)
		case strings.HasPrefix(line, saysViolation):
			found(violation{seed, line[len(saysViolation):]})
		case strings.HasPrefix(line, saysNote):
			t.Log(line[len(saysNote):])
		}
	}
	err = errors.Join(lines.Err(), cmd.Wait())
	switch {
	case errors.Is(context.Cause(ctx), errStands):
		found(violation{seed, fmt.Sprintf("%v; what waits for a lock:\n%s", errStands, waiting(failure.String()))})
	case err != nil && ctx.Err() == nil:
		found(violation{seed, fmt.Sprintf("the process that ran it: %v: %.4000s", err, failure.String())})
	}
	return ran
}

// errStands says that a history does not go on: time passes only while everybody waits for
// it, or for somebody else. Who waits for a lock does not count.
var errStands = errors.New("it does not come to an end")

// waiting returns the goroutines of a dump that keep time from passing.
func waiting(dump string) string {
	var out []string
	for _, g := range strings.Split(dump, "\n\n") {
		if head, _, _ := strings.Cut(g, "\n"); strings.Contains(head, "synctest bubble") && !strings.Contains(head, "durable") {
			out = append(out, g)
		}
	}
	return strings.Join(out, "\n\n")
}

// simBlock has a process run a block and nothing else: the first seed, how many, how often.
const simBlock = "EXTSYNC_SIM_BLOCK"

// A process runs one block. All of its histories share a bubble, because the client has
// timers that it uses again.
func TestBlock(t *testing.T) {
	var b block
	if n, _ := fmt.Sscan(os.Getenv(simBlock), &b.first, &b.n, &b.times, &b.tells); n != 4 {
		t.Skip("it is for TestHistories")
	}
	synctest.Test(t, func(t *testing.T) {
		for seed := b.first; seed < b.first+b.n; seed++ {
			for range b.times {
				say(os.Stdout, saysBegin, strconv.FormatUint(seed, 10))
				mrand.Seed(int64(seed)) //nolint:gosec,staticcheck // the waits of retries come from there
				notes, err := run(t, seed)
				if err != nil {
					say(os.Stdout, saysViolation, strings.ReplaceAll(err.Error(), "\n", "; "))
				}
				if b.tells && (err != nil || b.times == 1) {
					for _, note := range notes {
						say(os.Stdout, saysNote, note)
					}
					return
				}
			}
		}
	})
}

func say(to io.Writer, what, text string) { _, _ = fmt.Fprintln(to, what+text) }
