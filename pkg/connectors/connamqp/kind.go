// Package connamqp is the connector to AMQP 0-9-1 brokers such as RabbitMQ: each update is a
// persistent message, which is delivered when the broker has confirmed it.
//
// A queue keeps every message and compares nothing. So each says its key, version, digest and
// operation in its headers, and a consumer ignores what is older than what it has.
package connamqp

import (
	"context"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connkit"
)

// Name is the kind's name in configurations.
const Name = "amqp"

// Kind returns the connector kind "amqp".
func Kind() connectors.Kind {
	return connectors.Kind{
		Name: Name, Summary: "messages to an exchange or queue of an AMQP 0-9-1 broker, such as RabbitMQ", Config: Config{},
		Capabilities: connectors.Capabilities{Guard: connectors.GuardNone, Probes: true, Batches: true, Previews: true},
		Access:       []string{"scheme", "port", "user", "password", "tls", "allow_cidrs", "max_batch", "declare"},
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
			return &connector{Config: c, pool: newPool(d.dial), scrubber: env.Scrubber()}, nil
		},
	}
}
