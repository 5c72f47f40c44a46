// Package connredis is the connector to Redis, and to what speaks its protocol and runs
// its scripts, such as Valkey: one server or a cluster.
//
// # What it writes
//
// Each key of the channel has a hash at the server, with the fields v (the version, as
// digits of one width: 19 for a number, 23 for a time in UTC to the nanosecond), d (the
// digest), op (upsert or delete) and data (the payload). In the layout "value" the payload
// is the string at the key itself, and the hash lies beside it.
//
// # The guard
//
// One script on the server reads the version, compares, and writes. Nothing else runs
// there meanwhile, so the guard is atomic (guarantee 2). Versions are compared as texts:
// numbers of Lua are doubles and end at 2^53.
//
// # What the server must do
//
// It must keep what it has said to be written. A server without a file (appendonly), or
// with maxmemory-policy other than noeviction, forgets keys and with them their versions.
// A replica that takes over does not have the writes that had not reached it: what was
// delivered in that moment is gone until its next version, or a resync. Whoever else writes
// to keys with the prefix goes around the guard.
package connredis

import (
	"context"
	"crypto/tls"
	"net"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connkit"
)

// KindName is the name of the kind in configurations.
const KindName = "redis"

// Kind returns the connector kind "redis".
func Kind() connectors.Kind {
	return connectors.Kind{
		Name:    KindName,
		Summary: "a hash or a string for each key at a Redis or Valkey server, or at a cluster of them",
		Capabilities: connectors.Capabilities{
			Guard: connectors.GuardAtomic, KeepsDigest: true, KeepsTombstone: true,
			Probes: true, Reads: true, Compares: true, Fetches: true, Batches: true, Previews: true,
		},
		Config: Config{},
		Access: []string{"username", "password", "tls", "allow_cidrs", "max_batch", "nodes"},
		Check: func(config []byte) error {
			_, err := decode(config)
			return err
		},
		Open: open,
	}
}

func open(_ context.Context, env connectors.Env, data []byte) (connectors.Connector, error) {
	cfg, err := decode(data)
	if err != nil {
		return nil, connkit.Misconfigured("config", err)
	}
	at, err := parseURL(cfg.URL)
	if err != nil {
		return nil, connkit.Misconfigured("config", err)
	}
	s := connkit.NewSecrets(env)
	password := s.Text("password", cfg.Password)
	secured, err := cfg.TLS.Config(s)
	if err := s.Err(); err != nil {
		return nil, err
	}
	if err != nil {
		return nil, connkit.Misconfigured("config", err)
	}
	if !at.secure {
		secured = nil
	}
	dialer, err := env.Dialer(cfg.AllowCIDRs)
	if err != nil {
		return nil, err
	}
	c := &connector{cfg: cfg, prefix: cfg.prefixFor(env.Channel), digest: redis.NewScript(script).Hash(), scrubber: env.Scrubber()}
	c.calls = newCalls(connkit.TimeoutOf(env))
	logging.Disable() // of all clients of the library: it writes to standard error else
	options := c.options(env, at, password, dialer, secured)
	if cfg.Cluster {
		cluster := redis.NewClusterClient(options.Cluster())
		c.client, c.reload = cluster, func() { cluster.ReloadState(context.Background()) }
	} else {
		c.client, c.reload = redis.NewClient(options.Simple()), func() {}
	}
	return c, nil
}

// options say how the library reaches the server. It must neither try again nor wait by
// itself: the time of the call is the only bound, and connections are made by calls.
func (c *connector) options(env connectors.Env, at address, password string, dialer *connectors.Dialer, secured *tls.Config) *redis.UniversalOptions {
	conns := max(1, env.Concurrency)
	longest := 2*connkit.TimeoutOf(env) + 5*time.Second // later than any call ends
	return &redis.UniversalOptions{
		Addrs: append([]string{at.host}, c.cfg.Nodes...), DB: at.database, Username: c.cfg.Username, Password: password,
		Protocol: 2, DisableIdentity: true, MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
		Dialer: func(_ context.Context, network, addr string) (net.Conn, error) {
			return c.calls.conn(dialer, secured, network, addr), nil
		},
		MaxRetries: -1, DialerRetries: 1, MaxRedirects: 1, MinRetryBackoff: -1, MaxRetryBackoff: -1,
		ContextTimeoutEnabled: true, DialTimeout: longest, ReadTimeout: longest, WriteTimeout: longest, PoolTimeout: longest,
		PoolSize: conns, PipelinePoolSize: -1,
	}
}
