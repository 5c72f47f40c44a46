package testdb

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
)

type redisServer struct {
	program  string
	settings []string // "name value"
	tls      bool
	cluster  bool
	bus      int // the port by which servers of a cluster talk to each other
}

func (*redisServer) name() string       { return "Redis" }
func (*redisServer) stopSignal() string { return "KILL" }

func (r *redisServer) find() error {
	if r.program = lookup("redis-server"); r.program == "" {
		return errors.New("there is no Redis server on this machine: apt-get install redis-server")
	}
	return nil
}

func (*redisServer) initialise(s *Server) []string {
	return []string{"mkdir", filepath.Join(s.dir, "data")}
}

func (*redisServer) config(s *Server) string { return filepath.Join(s.dir, "redis.conf") }

// configure has each write in the file of commands before it is answered: a killed server
// has lost nothing that it had confirmed.
func (r *redisServer) configure(s *Server) (err error) {
	port := strconv.Itoa(s.port)
	lines := []string{"bind 127.0.0.1", "dir " + filepath.Join(s.dir, "data"), "appendonly yes", "appendfsync no", `save ""`}
	if r.tls {
		lines = append(lines, "port 0", "tls-port "+port, "tls-ca-cert-file "+filepath.Join(s.dir, caName),
			"tls-cert-file "+filepath.Join(s.dir, certName), "tls-key-file "+filepath.Join(s.dir, keyName), "tls-auth-clients no")
	} else {
		lines = append(lines, "port "+port)
	}
	if r.cluster {
		if r.bus, err = freePort(); err != nil {
			return err
		}
		lines = append(lines, "cluster-enabled yes", "cluster-config-file nodes.conf", "cluster-port "+strconv.Itoa(r.bus), "cluster-node-timeout 2000")
	}
	lines = append(lines, r.settings...)
	return os.WriteFile(r.config(s), []byte(strings.Join(lines, "\n")+"\n"), 0o600)
}

func (r *redisServer) serve(s *Server) []string { return []string{r.program, r.config(s)} }

// ping reports whether the server has read its file; over TLS, whether it is there.
func (r *redisServer) ping(ctx context.Context, s *Server) error {
	if r.tls {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", s.Addr())
		if err != nil {
			return err
		}
		return conn.Close()
	}
	return r.exec(ctx, s, "", "PING")
}

// exec runs a command whose parts have no spaces.
func (*redisServer) exec(ctx context.Context, s *Server, _, command string) (err error) {
	logging.Disable() // the server is not there yet while it starts
	client := redis.NewClient(&redis.Options{Addr: s.Addr(), MaxRetries: -1, DialerRetries: 1, Protocol: 2, DisableIdentity: true, ContextTimeoutEnabled: true})
	defer func() { err = errors.Join(err, client.Close()) }()
	var args []any
	for _, word := range strings.Fields(command) {
		args = append(args, word)
	}
	return client.Do(ctx, args...).Err()
}

func (*redisServer) dsn(s *Server, _ string) string { return "redis://" + s.Addr() }

// StartRedis starts a Redis server of the test's own, with these lines of configuration
// besides, which it may stop and start. It ends with the test.
func StartRedis(t testing.TB, settings ...string) *Server {
	t.Helper()
	return startOwn(t, &redisServer{settings: settings})
}

// StartRedisTLS is StartRedis of a server that speaks TLS only.
func StartRedisTLS(t testing.TB, settings ...string) *Server {
	t.Helper()
	return startOwn(t, &redisServer{tls: true, settings: settings})
}

// slots is how many slots a cluster has.
const slots = 16384

// StartRedisCluster starts a cluster of n Redis servers, all of them masters with a part of
// the slots each. It ends with the test.
func StartRedisCluster(t testing.TB, n int, settings ...string) []*Server {
	t.Helper()
	all := make([]*Server, n)
	for i := range all {
		engine := &redisServer{cluster: true, settings: settings}
		all[i] = startOwn(t, engine)
		all[i].Exec(t, "", fmt.Sprintf("CLUSTER ADDSLOTSRANGE %d %d", i*slots/n, (i+1)*slots/n-1))
		if i > 0 {
			all[0].Exec(t, "", fmt.Sprintf("CLUSTER MEET 127.0.0.1 %d %d", all[i].port, engine.bus))
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), readyWithin)
	defer cancel()
	for _, s := range all {
		if err := s.awaitCluster(ctx, n); err != nil {
			t.Fatalf("testdb: the cluster is not ready: %v", err)
		}
	}
	return all
}

// awaitCluster waits until the server knows all servers of its cluster, and takes writes.
func (s *Server) awaitCluster(ctx context.Context, n int) (err error) {
	client := redis.NewClient(&redis.Options{Addr: s.Addr()})
	defer func() { err = errors.Join(err, client.Close()) }()
	poll := time.NewTicker(pollEvery)
	defer poll.Stop()
	for {
		info, err := client.ClusterInfo(ctx).Result()
		if err == nil && strings.Contains(info, "cluster_state:ok") && strings.Contains(info, fmt.Sprintf("cluster_size:%d", n)) {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-poll.C:
		}
	}
}
