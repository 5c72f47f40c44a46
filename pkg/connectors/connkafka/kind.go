// Package connkafka is the connector to Kafka and to brokers that speak its protocol: each
// update is a record of one topic, which is delivered when all in-sync replicas have it.
//
// The broker compares no versions: of two records with one key the last one counts. So a
// worker's records are written in transactions under an id for each partition of the channel.
// Whoever takes a partition over announces itself under the same id, and the broker refuses
// everything that the worker before it still sends.
package connkafka

import (
	"context"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connkit"
)

// Name is the kind's name in configurations.
const Name = "kafka"

// Kind returns the connector kind "kafka".
func Kind() connectors.Kind {
	return connectors.Kind{
		Name: Name, Summary: "records of a compacted topic of Kafka, written in transactions", Config: Config{},
		Capabilities: connectors.Capabilities{Guard: connectors.GuardLedger, Probes: true, Batches: true, Previews: true},
		Access: []string{
			"brokers", "security", "mechanism", "user", "password", "tls", "fence", "transactional_id", "compression", "cleanup", "max_record_bytes", "max_batch", "allow_cidrs",
		},
		Check: func(config []byte) error {
			_, err := decode(config)
			return err
		},
		Open: func(_ context.Context, env connectors.Env, config []byte) (connectors.Connector, error) {
			c, err := decode(config)
			if err != nil {
				return nil, connkit.Misconfigured("config", err)
			}
			l, err := newLink(&c, env)
			if err != nil {
				return nil, err
			}
			return newConnector(c, l, env), nil
		},
	}
}
