package connredis_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/hms-utl/extsync/internal/faults"
	"github.com/hms-utl/extsync/internal/testdb"
	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connectortest"
	"github.com/hms-utl/extsync/pkg/connectors/connredis"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// The login of these tests has what must be escaped elsewhere, and no right that the
// documentation of username does not name.
const (
	username = "extsync"
	password = `s3cr3t-/p@ss:w'ord%\`
	commands = "+eval +evalsha +hget +hmget +hset +hdel +exists +persist +pexpire +set +get +del"
	prefix   = connectortest.Channel + ":"
)

// A target is a server, or a cluster, with a proxy before each server.
type target struct {
	servers []*testdb.Server
	proxies []*faults.Proxy
	admin   redis.UniversalClient
	config  string
	value   bool // the layout
}

// newTarget starts a server.
func newTarget(t testing.TB, config string) *target {
	t.Helper()
	return wrap(t, []*testdb.Server{testdb.StartRedis(t, login())}, config)
}

// newCluster starts three servers. Each tells clients to come by its proxy.
func newCluster(t testing.TB) *target {
	t.Helper()
	d := wrap(t, testdb.StartRedisCluster(t, 3, login()), "")
	for i, s := range d.servers {
		_, port, _ := net.SplitHostPort(d.proxies[i].Addr())
		s.Exec(t, "", "CONFIG SET cluster-announce-port "+port)
	}
	for _, s := range d.servers {
		client := redis.NewClient(&redis.Options{Addr: s.Addr()})
		testkit.Eventually(t, "all servers announce their proxies", func() bool {
			shards, err := client.ClusterShards(t.Context()).Result()
			testkit.Must(t, err)
			announced := 0
			for _, shard := range shards {
				for _, p := range d.proxies {
					if p.Addr() == fmt.Sprintf("127.0.0.1:%d", shard.Nodes[0].Port) {
						announced++
					}
				}
			}
			return announced == len(d.servers)
		})
		testkit.Must(t, client.Close())
	}
	return d
}

func wrap(t testing.TB, servers []*testdb.Server, config string) *target {
	t.Helper()
	d := (&target{servers: servers}).with(config)
	var addresses []string
	for _, s := range servers {
		addresses = append(addresses, s.Addr())
		d.proxies = append(d.proxies, faults.NewProxy(t, s.Addr()))
	}
	if len(servers) > 1 {
		d.admin = redis.NewClusterClient(&redis.ClusterOptions{Addrs: addresses, Dialer: d.around, MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}})
	} else {
		d.admin = redis.NewClient(&redis.Options{Addr: addresses[0]})
	}
	t.Cleanup(func() { testkit.Must(t, d.admin.Close()) })
	return d
}

// with returns the target with another configuration.
func (d target) with(config string) *target {
	if len(d.servers) > 1 && !strings.Contains(config, "cluster: ") {
		config += "cluster: true\n"
	}
	d.config, d.value = config, strings.Contains(config, "layout: value")
	return &d
}

// login is the connector's user, as a server is configured with it.
func login() string {
	return fmt.Sprintf("user %s on #%x ~%s* ~{%s* %s +cluster|slots +asking", username, sha256.Sum256([]byte(password)), prefix, prefix, commands)
}

// around connects to a server, and not to its proxy.
func (d *target) around(ctx context.Context, network, addr string) (net.Conn, error) {
	for i, p := range d.proxies {
		if p.Addr() == addr {
			addr = d.servers[i].Addr()
		}
	}
	return new(net.Dialer).DialContext(ctx, network, addr)
}

// lines is the configuration of a connector to the target.
func (d *target) lines() []byte {
	return fmt.Appendf(nil, "url: redis://%s\nusername: %s\npassword: ${env:PW}\nallow_cidrs: [127.0.0.0/8]\n%s", d.proxies[0].Addr(), username, d.config)
}

func env() connectors.Env { return connectortest.Env(map[string]string{"PW": password}) }

// open opens a connector that is closed with the test.
func (d *target) open(t testing.TB) *connectors.Opened {
	t.Helper()
	return openWith(t, env(), d.lines())
}

func openWith(t testing.TB, env connectors.Env, config []byte) *connectors.Opened {
	t.Helper()
	c, err := connectors.Open(t.Context(), connredis.Kind(), env, config)
	testkit.Must(t, err)
	t.Cleanup(func() { testkit.Must(t, c.Close(context.WithoutCancel(t.Context()))) })
	return c
}

// do runs a command as the administrator, which must succeed.
func (d *target) do(t testing.TB, args ...any) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), testkit.Patience)
	defer cancel()
	testkit.Must(t, d.admin.Do(ctx, args...).Err())
}

// all runs a command at each server.
func (d *target) all(t testing.TB, command string) {
	t.Helper()
	for _, s := range d.servers {
		s.Exec(t, "", command)
	}
}

// everywhere runs a command at each server whose parts may have spaces.
func (d *target) everywhere(t testing.TB, args ...any) {
	t.Helper()
	for _, s := range d.servers {
		client := redis.NewClient(&redis.Options{Addr: s.Addr()})
		testkit.Must(t, errors.Join(client.Do(context.WithoutCancel(t.Context()), args...).Err(), client.Close()))
	}
}

// hash is the name of the hash of a key.
func (d *target) hash(key string) string {
	name := prefix + key
	if !d.value {
		return name
	}
	if open := strings.IndexByte(name, '{'); open >= 0 && strings.IndexByte(name[open:], '}') > 1 {
		return name + "::sync"
	}
	return "{" + name + "}:sync"
}

// held reads what the server holds of keys.
func (d *target) held(t testing.TB, keys ...string) map[string]connectors.Held {
	t.Helper()
	out := make(map[string]connectors.Held)
	for _, key := range keys {
		got, err := d.admin.HGetAll(t.Context(), d.hash(key)).Result()
		if err != nil {
			t.Errorf("reading %q: %v", key, err)
			continue
		}
		if len(got) == 0 {
			continue
		}
		h := connectors.Held{Op: events.Op(got["op"])}
		if h.Version, err = versioning.Parse(strings.TrimLeft(got["v"], "0")); len(got["v"]) == 23 {
			var at time.Time
			if at, err = time.Parse("20060102150405.000000000", got["v"][:14]+"."+got["v"][14:]); err == nil {
				h.Version, err = versioning.Time(at)
			}
		}
		if err := errors.Join(err, h.Digest.UnmarshalText([]byte(got["d"]))); err != nil {
			t.Errorf("reading %q: %v", key, err)
		}
		out[key] = h
	}
	return out
}

// payload reads the payload of a key, "" if there is none.
func (d *target) payload(t testing.TB, key string) string {
	t.Helper()
	read := d.admin.HGet(t.Context(), prefix+key, "data")
	if d.value {
		read = d.admin.Get(t.Context(), prefix+key)
	}
	if err := read.Err(); err != nil && !errors.Is(err, redis.Nil) {
		t.Fatal(err)
	}
	return read.Val()
}

// attempt returns an attempt to write a JSON payload; an empty one is a delete.
func attempt(key string, version int64, payload string) connectors.Attempt {
	u := events.Update{Channel: connectortest.Channel, Key: key, Version: testkit.Number(version), Payload: []byte(payload)}
	if payload == "" {
		u.Op = events.Delete
	}
	u = u.WithDefaults()
	return connectors.Attempt{Update: u, Digest: u.Digest(), Number: 1}
}

// apply applies attempts within the time that the engine would give.
func apply(t testing.TB, c *connectors.Opened, attempts ...connectors.Attempt) []connectors.Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testkit.Patience)
	defer cancel()
	return c.Apply(ctx, attempts)
}

func want(t testing.TB, res connectors.Result, class connectors.Class, code string) {
	t.Helper()
	if res.Class != class || code != "" && res.Code != code {
		t.Errorf("class %s, code %q (%v); want class %s, code %q", res.Class, res.Code, res.Err, class, code)
	}
	if res.Err != nil && strings.Contains(res.Err.Error()+res.Response, password) {
		t.Error("the result shows the password")
	}
}
