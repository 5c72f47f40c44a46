// Package conns3 is the connector to object stores that speak the S3 API: AWS, Ceph,
// MinIO and others.
//
// # What it writes
//
// Each key has one object. Its name is the prefix, the key as subjects have it
// (events.EncodeKey), and the suffix. Its metadata (x-amz-meta-extsync-*) hold the
// version, the digest and whether the key is deleted: a tombstone is an object without
// content, so that an older update which comes late is refused. An object is written by
// one PUT, never in parts.
//
// # The guard
//
// The connector reads what the object's metadata say, and writes under the condition that
// its ETag is still the one that was read, or that there is still no object. Most stores
// make the ETag from the content alone. Two versions with one content would have one
// ETag: a writer that was frozen after it had read version 5 could not tell that version 7
// with the content of 5 is there now, and would put version 6 in its place. So with
// content "json" (the default) white space follows the document that is another for each
// version, and no ETag comes twice. With content "bytes" the object holds the payload and
// nothing else. The condition is the same, and the guard then is declared as what it is
// for certain: extsync's own order.
//
// A store may read metadata and ETag one after the other. So that an answer to HEAD with
// those of two versions is noticed, the metadata have the MD5 of the content, which most
// stores make the ETag from; see [connector.look].
//
// The target must carry out conditional writes (If-Match, If-None-Match) as one step. One
// that ignores the conditions, or looks at them before it writes, does not keep the guard;
// "extsync channels test --guard" finds out.
package conns3

import (
	"context"
	"errors"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connkit"
	"github.com/hms-utl/extsync/pkg/connectors/connkit/httpkit"
)

// KindName is the name of the kind in configurations.
const KindName = "s3"

// Kind returns the connector kind "s3".
func Kind() connectors.Kind {
	return connectors.Kind{
		Name:    KindName,
		Summary: "an object of an S3-compatible store for each key",
		Capabilities: connectors.Capabilities{
			Guard: connectors.GuardConditional, KeepsDigest: true, KeepsTombstone: true,
			Probes: true, Reads: true, Compares: true, Fetches: true, Lists: true, Previews: true,
		},
		Configured: func(config []byte) connectors.Capabilities {
			can := Kind().Capabilities
			if c, err := decode(config); err == nil && c.Content == bytesContent {
				can.Guard = connectors.GuardLedger
			}
			return can
		},
		Config: Config{},
		NeedsJSON: func(config []byte) bool {
			c, err := decode(config)
			return err == nil && c.Content == jsonContent
		},
		Access: []string{"region", "addressing", "access_key_id", "secret_access_key", "session_token", "tls", "allow_cidrs"},
		Check: func(config []byte) error {
			_, err := decode(config)
			return err
		},
		Open: open,
	}
}

// connector implements connectors.Connector. It is safe for concurrent use.
type connector struct {
	Config
	client      *client
	names       names
	concurrency int
}

// Compile-time checks of what the connector offers.
var (
	_ connectors.Connector = (*connector)(nil)
	_ connectors.Prober    = (*connector)(nil)
	_ connectors.Reader    = (*connector)(nil)
	_ connectors.Comparer  = (*connector)(nil)
	_ connectors.Lister    = (*connector)(nil)
	_ connectors.Previewer = (*connector)(nil)
)

func open(_ context.Context, env connectors.Env, data []byte) (connectors.Connector, error) {
	cfg, err := decode(data)
	if err != nil {
		return nil, connkit.Misconfigured("config", err)
	}
	s := connkit.NewSecrets(env)
	cl := cfg.client(s)
	cl.scrubber = env.Scrubber()
	secure, err := cfg.TLS.Config(s)
	if err != nil {
		return nil, connkit.Misconfigured("config", err)
	}
	if err := s.Err(); err != nil {
		return nil, err
	}
	if !headerValue(cl.credentials.AccessKeyID) || !headerValue(cl.credentials.SessionToken) {
		return nil, connkit.Misconfigured("config", errors.New("the value of access_key_id or session_token has characters that a header cannot carry, or spaces around it"))
	}
	dialer, err := env.Dialer(cfg.AllowCIDRs)
	if err != nil {
		return nil, err
	}
	conns := max(1, env.Concurrency)
	cl.timeout, cl.transport = connkit.TimeoutOf(env), httpkit.NewTransport(dialer, secure, conns)
	return &connector{Config: cfg, client: cl, names: cfg.names(env.Channel), concurrency: conns}, nil
}

// Close closes the connections.
func (c *connector) Close(context.Context) error {
	c.client.transport.CloseIdleConnections()
	return nil
}
