// Package connnats is the connector to NATS: to a bucket of keys and values, to a stream, or
// to a service that answers requests.
//
// # Buckets and streams
//
// Each key of the channel is a key of the bucket, or a subject of the stream. A message there
// has the payload, and in its headers the version, the digest and the operation. A delete
// leaves a message, too, which a bucket's readers take for one: it holds the version, so that
// an older update which comes late is refused. Keys are encoded as in extsync's own subjects
// (package events): letters, digits, _ and - stay, other bytes are =XX.
//
// The guard is conditional (guarantee 2): the connector reads the last message of a key and
// writes the next one only if that is still the last one, which the server sees to.
//
// A bucket or stream must keep the last message of each key. One with a lifetime, or with
// limits that drop old messages, forgets keys and with them their versions. Whoever else
// writes there goes around the guard.
//
// # Services
//
// A service gets the documents of plugins (docs/plugins.md) as requests, and answers with
// theirs. It has no sessions: it is not opened, and any of its instances may get any request.
// What it declares is believed, once it was tried.
package connnats

import (
	"context"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connkit"
)

// KindName is the name of the kind in configurations.
const KindName = "nats"

// Kind returns the connector kind "nats".
func Kind() connectors.Kind {
	return connectors.Kind{
		Name:    KindName,
		Summary: "a bucket, a stream or a service at a NATS server, of this or another account",
		Capabilities: connectors.Capabilities{
			Guard: connectors.GuardAtomic, KeepsDigest: true, KeepsTombstone: true,
			Probes: true, Reads: true, Compares: true, Fetches: true, Lists: true, Batches: true, Previews: true, Remembers: true,
		},
		Configured: func(config []byte) connectors.Capabilities {
			c, err := decode(config)
			switch {
			case err != nil:
				return connectors.Capabilities{Guard: connectors.GuardNone}
			case c.Mode == serviceMode:
				return c.Capabilities.Of(c.MaxBatch)
			default:
				return connectors.Capabilities{
					Guard: connectors.GuardConditional, KeepsDigest: true, KeepsTombstone: true,
					Probes: true, Reads: true, Compares: true, Fetches: true, Previews: true,
				}
			}
		},
		Config: Config{},
		Access: []string{"servers", "credentials", "nkey", "token", "username", "password", "inbox_prefix", "tls", "allow_cidrs", "max_batch", "capabilities"},
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
	l, err := newLink(cfg, env)
	if err != nil {
		return nil, err
	}
	if cfg.Mode == serviceMode {
		return newService(cfg, env, l), nil
	}
	return newKeeper(cfg, env, l), nil
}
