//go:build unix

package faults

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// serverModule is the nats-server that go.mod names, as a program.
const serverModule = "github.com/nats-io/nats-server/v2"

// BuildServer builds the real nats-server into a directory and returns the path
// of the program. The go command's cache makes the second time quick.
func BuildServer(ctx context.Context, dir string) (string, error) {
	path := filepath.Join(dir, "nats-server")
	build := exec.CommandContext(ctx, "go", "build", "-o", path, serverModule)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build nats-server: %w\n%s", err, out)
	}
	return path, nil
}

// serverReady is how long a server, or a cluster, has to be usable.
const serverReady = 60 * time.Second

// A Server is a nats-server with JetStream in a process of its own. Its port and
// its data survive Kill and Start.
type Server struct {
	Name string
	URL  string
	crew *Crew
	path string
	conf string

	mu      sync.Mutex
	process *Process
}

// StartServer starts a single server; path is that of the program.
func StartServer(t testing.TB, crew *Crew, path string) *Server {
	t.Helper()
	s := newServer(t, crew, path, "single", "")
	s.Start(t)
	return s
}

// StartCluster starts servers that form a cluster, and returns when it can hold
// streams on all of them.
func StartCluster(t testing.TB, crew *Crew, path string, size int) []*Server {
	t.Helper()
	ports := FreePorts(t, size)
	routes := make([]string, size)
	for i, port := range ports {
		routes[i] = fmt.Sprintf("nats://127.0.0.1:%d", port)
	}
	servers := make([]*Server, size)
	for i, port := range ports {
		cluster := fmt.Sprintf("cluster { name: faults, listen: \"127.0.0.1:%d\", routes: [%s] }\n", port, strings.Join(routes, ", "))
		servers[i] = newServer(t, crew, path, fmt.Sprintf("n%d", i+1), cluster)
	}
	StartAll(t, servers)
	return servers
}

// StartAll starts the servers of a cluster, or brings them back when all were
// killed, and returns when streams on all of them can be made.
func StartAll(t testing.TB, servers []*Server) {
	t.Helper()
	for _, s := range servers {
		s.launch(t)
	}
	for _, s := range servers {
		s.await(t, len(servers))
	}
}

// URLs returns the address of a cluster for clients.
func URLs(servers []*Server) string {
	urls := make([]string, len(servers))
	for i, s := range servers {
		urls[i] = s.URL
	}
	return strings.Join(urls, ",")
}

func newServer(t testing.TB, crew *Crew, path, name, cluster string) *Server {
	t.Helper()
	dir := t.TempDir()
	port := FreePorts(t, 1)[0]
	s := &Server{Name: name, URL: fmt.Sprintf("nats://127.0.0.1:%d", port), crew: crew, path: path, conf: filepath.Join(dir, "server.conf")}
	conf := fmt.Sprintf("server_name: %s\nlisten: \"127.0.0.1:%d\"\n%sjetstream { store_dir: %q, max_file_store: 64GB, max_memory_store: 256MB }\n",
		name, port, cluster, filepath.Join(dir, "data"))
	if err := os.WriteFile(s.conf, []byte(conf), 0o600); err != nil {
		t.Fatalf("server: %v", err)
	}
	return s
}

// Data returns the directory in which the server keeps its streams.
func (s *Server) Data() string { return filepath.Join(filepath.Dir(s.conf), "data") }

// Kill ends the server with SIGKILL.
func (s *Server) Kill() { s.running().Kill() }

// Start brings a killed server back and returns when it answers.
func (s *Server) Start(t testing.TB) {
	t.Helper()
	s.launch(t)
	s.await(t, 1)
}

// running returns the process, which may have been killed.
func (s *Server) running() *Process {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.process
}

func (s *Server) launch(t testing.TB) {
	t.Helper()
	p := s.crew.Start(t, Spec{Name: s.Name, Path: s.path, Args: []string{"-c", s.conf}})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.process = p
}

// await waits until streams on so many servers can be made.
func (s *Server) await(t testing.TB, replicas int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), serverReady)
	defer cancel()
	nc, err := nats.Connect(s.URL, nats.RetryOnFailedConnect(true), nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond))
	if err != nil {
		t.Fatalf("server %s: %v", s.Name, err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	for err == nil {
		try, cancel := context.WithTimeout(ctx, 2*time.Second)
		_, perr := js.AccountInfo(try)
		if perr == nil && replicas > 1 {
			perr = probe(try, js, s.Name, replicas)
		}
		cancel()
		if perr == nil {
			return
		}
		select {
		case <-ctx.Done():
			err = errors.Join(ctx.Err(), perr)
		case <-s.running().Done():
			err = errors.New("it has ended")
		case <-time.After(50 * time.Millisecond):
		}
	}
	t.Fatalf("server %s is not ready: %v\n%s", s.Name, err, s.running().LogTail(4<<10))
}

// probe makes a stream and removes it.
func probe(ctx context.Context, js jetstream.JetStream, name string, replicas int) error {
	stream := "PROBE_" + name
	if _, err := js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{Name: stream, Replicas: replicas, Storage: jetstream.MemoryStorage}); err != nil {
		return err
	}
	return js.DeleteStream(ctx, stream)
}

// FreePorts returns loopback ports that were free a moment ago, all different.
// They lie below those that the system gives to outgoing connections, so that
// they stay free while a server is dead.
func FreePorts(t testing.TB, n int) []int {
	t.Helper()
	const lowest, highest = 20000, 32000
	var ports []int
	for tries := 0; len(ports) < n; tries++ {
		port := lowest + rand.IntN(highest-lowest)
		l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			if tries > 1000 {
				t.Fatalf("no free port in %d..%d: %v", lowest, highest, err)
			}
			continue
		}
		defer func() { _ = l.Close() }() // it held the port
		ports = append(ports, port)
	}
	return ports
}
