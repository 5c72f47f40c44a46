// Package connmqtt is the connector to MQTT 5 brokers: each key has a retained message on a
// topic of its own, sent at QoS 1, which is delivered when the broker has acknowledged it.
//
// A broker replaces a retained message by whatever comes next, and compares nothing: the
// guard is extsync's own order. Each message says its key, version, digest and operation in
// its user properties, so that a subscriber can ignore what is older than what it has.
//
// # What could come late
//
// A connector keeps one client id, and connects anew under it. A broker ends the connection
// that had the id before, so nothing that is still on its way there is published any more.
package connmqtt

import (
	"context"
	"crypto/rand"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connkit"
)

// Name is the kind's name in configurations.
const Name = "mqtt"

// Kind returns the connector kind "mqtt".
func Kind() connectors.Kind {
	return connectors.Kind{
		Name: Name, Summary: "a retained message for each key at an MQTT 5 broker", Config: Config{},
		Capabilities: connectors.Capabilities{
			Guard: connectors.GuardLedger, KeepsDigest: true, KeepsTombstone: true,
			Probes: true, Reads: true, Compares: true, Batches: true, Previews: true,
		},
		Configured: func(config []byte) connectors.Capabilities {
			can := Kind().Capabilities
			if c, err := decode(config); err == nil && c.OnDelete == removeOnDelete {
				can.KeepsTombstone = false
			}
			return can
		},
		Access: []string{"scheme", "port", "user", "password", "tls", "allow_cidrs", "client_id", "max_batch", "read_wait"},
		Check: func(config []byte) error {
			_, err := decode(config)
			return err
		},
		Open: func(_ context.Context, env connectors.Env, config []byte) (connectors.Connector, error) {
			c, err := decode(config)
			if err != nil {
				return nil, connkit.Misconfigured("config", err)
			}
			d, err := newDialer(c, env)
			if err != nil {
				return nil, err
			}
			return &connector{Config: c, dialer: d, pool: newPool(d, c.newClientID()), timeout: connkit.TimeoutOf(env), scrubber: env.Scrubber()}, nil
		},
	}
}

// newClientID returns a client id that nobody else has: a broker ends the connection of
// whoever had the id before. With the default of client_id it has the 23 letters and digits
// that every broker takes.
func (c *Config) newClientID() string {
	const random = 16
	return c.ClientID + rand.Text()[:random]
}
