package connnats_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/internal/natsserver"
	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/connectors"
)

// asServer is the first argument with which the test's program is a NATS server.
const asServer = "as-server"

// TestMain is a server where a test starts it as one. It ends with its input, and so with
// the test, however that ends.
func TestMain(m *testing.M) {
	if len(os.Args) < 4 || os.Args[1] != asServer {
		os.Exit(m.Run())
	}
	s, err := natsserver.Start(context.Background(), natsserver.Options{StoreDir: os.Args[2], Listen: os.Args[3]})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(strings.TrimPrefix(s.ClientURL(), "nats://"))
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// A process is a server of its own.
type process struct {
	cmd     *exec.Cmd
	address string
}

func startServer(t *testing.T, dir, listen string) *process {
	t.Helper()
	self, err := os.Executable()
	testkit.Must(t, err)
	p := &process{cmd: exec.CommandContext(context.WithoutCancel(t.Context()), self, asServer, dir, listen)}
	p.cmd.Stderr = os.Stderr
	_, err = p.cmd.StdinPipe() // is closed by kill, or with this process
	testkit.Must(t, err)
	out, err := p.cmd.StdoutPipe()
	testkit.Must(t, err)
	testkit.Must(t, p.cmd.Start())
	t.Cleanup(p.kill)
	_, err = fmt.Fscanln(out, &p.address)
	testkit.Must(t, err)
	return p
}

// kill ends the process by SIGKILL.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // it may have ended
	_ = p.cmd.Wait()         // by a signal
}

// The server is killed while calls are under way, and started again: what it had taken is
// there, and each key ends at its newest version.
func TestServerIsKilledDuringCalls(t *testing.T) {
	for _, mode := range modes() {
		t.Run(mode, func(t *testing.T) {
			dir := t.TempDir()
			server := startServer(t, dir, "127.0.0.1:0")
			nc, err := nats.Connect("nats://"+server.address, nats.MaxReconnects(-1))
			testkit.Must(t, err)
			defer nc.Close()
			js, err := jetstream.New(nc)
			testkit.Must(t, err)
			d := targetAt(t, mode, js, server.address)
			c := d.open(t)
			const writers, last, enough = 8, 100, 200
			var taken [writers]atomic.Int64
			var total atomic.Int64
			back, busy := make(chan struct{}), make(chan struct{})
			isBusy := sync.OnceFunc(func() { close(busy) })
			var all sync.WaitGroup
			for w := range writers {
				all.Go(func() {
					defer isBusy() // also when it fails
					for version := int64(1); version <= last; {
						a := attempt(fmt.Sprintf("k%d", w), version, fmt.Sprintf(`{"n":%d}`, version))
						a.Held = version > 1
						switch res := apply(t, c, a)[0]; res.Class {
						case connectors.OK:
							taken[w].Store(version)
							version++
							if total.Add(1) == enough {
								isBusy()
							}
						case connectors.Transient:
							<-back
						default:
							t.Errorf("version %d: class %s, code %q (%v)", version, res.Class, res.Code, res.Err)
							return
						}
					}
				})
			}
			<-busy
			server.kill()
			var before [writers]int64
			for w := range writers {
				before[w] = taken[w].Load()
			}
			startServer(t, dir, server.address)
			testkit.Eventually(t, "the stream is there again", func() bool {
				_, err := js.Stream(t.Context(), d.stream)
				return err == nil
			})
			for w := range writers {
				key := fmt.Sprintf("k%d", w)
				held := d.held(t, key)[key]
				if order, err := held.Version.Compare(testkit.Number(max(before[w], 1))); before[w] > 0 && (err != nil || order < 0) {
					t.Errorf("%s: version %d was taken, and %s is there", key, before[w], held.Version)
				}
			}
			close(back)
			all.Wait()
			for w := range writers {
				key := fmt.Sprintf("k%d", w)
				if m := d.last(t, key); m == nil || m.Header.Get("ce-entityversion") != fmt.Sprint(last) || string(m.Data) != fmt.Sprintf(`{"n":%d}`, last) {
					t.Errorf("%s ended at %+v", key, m)
				}
			}
			stream, err := js.Stream(t.Context(), d.stream)
			testkit.Must(t, err)
			if got := stream.CachedInfo().State.NumSubjects; got != writers {
				t.Errorf("there are %d keys, want %d", got, writers)
			}
		})
	}
}
