// Package connfile is the connector to directories: kind file writes to one of the worker's
// own, kind sftp to one behind an SFTP server.
//
// # The layouts
//
// Each file is written under a name that begins with a dot, and gets its own name when it is
// whole and on the disk. A layout says which names those are:
//
//   - versions: each key has a directory, and each version a file in it, beside a hidden one
//     with its tag. A hard link makes the tag, which fails if the version has one: whoever
//     comes late can add an older version and never take the place of a newer one.
//   - current: each key has one file, which a newer version replaces.
//   - drop: each update has a file of its own, or each batch has one; a marker beside it says
//     that it is whole.
//
// A deleted key has a file that ends in .deleted and holds the version of the delete.
package connfile

import (
	"context"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connkit"
)

// The names of the kinds in configurations.
const (
	FileKind = "file"
	SFTPKind = "sftp"
)

// File returns the connector kind "file".
func File() connectors.Kind {
	return connectors.Kind{
		Name: FileKind, Summary: "files in a directory of the worker", Config: FileConfig{},
		Capabilities: atBest(),
		Configured: func(config []byte) connectors.Capabilities {
			c, err := decodeFile(config)
			return c.capabilities(err)
		},
		Access: []string{"max_batch"},
		Check: func(config []byte) error {
			_, err := decodeFile(config)
			return err
		},
		Open: func(_ context.Context, env connectors.Env, config []byte) (connectors.Connector, error) {
			c, err := decodeFile(config)
			if err != nil {
				return nil, connkit.Misconfigured("config", err)
			}
			path, err := env.DataPath(c.Directory)
			if err != nil {
				return nil, err
			}
			return newConnector(&c.Layout, local{path}, "file://"+path, env), nil
		},
	}
}

// SFTP returns the connector kind "sftp".
func SFTP() connectors.Kind {
	return connectors.Kind{
		Name: SFTPKind, Summary: "files in a directory of an SFTP server", Config: SFTPConfig{},
		Capabilities: atBest(),
		Configured: func(config []byte) connectors.Capabilities {
			c, err := decodeSFTP(config)
			return c.capabilities(err)
		},
		Access: []string{"user", "private_key", "passphrase", "password", "host_keys", "connections", "allow_cidrs", "max_batch"},
		Check: func(config []byte) error {
			_, err := decodeSFTP(config)
			return err
		},
		Open: func(_ context.Context, env connectors.Env, config []byte) (connectors.Connector, error) {
			c, err := decodeSFTP(config)
			if err != nil {
				return nil, connkit.Misconfigured("config", err)
			}
			d, err := newDialer(c, env)
			if err != nil {
				return nil, err
			}
			p := newPool(d.dial, min(c.Connections, max(env.Concurrency, 1)))
			return newConnector(&c.Layout, remote{p, c.Directory}, c.url(), env), nil
		},
	}
}

func atBest() connectors.Capabilities {
	return connectors.Capabilities{
		Guard: connectors.GuardAtomic, KeepsDigest: true, KeepsTombstone: true,
		Probes: true, Reads: true, Batches: true, Previews: true,
	}
}

// capabilities returns what is left of them in the layout, and all if the configuration
// could not be read.
func (l *Layout) capabilities(err error) connectors.Capabilities {
	can := atBest()
	if err != nil {
		return can
	}
	can.Batches = l.Layout == dropLayout && l.Batch != noBatch
	switch l.Layout {
	case currentLayout:
		can.Guard, can.KeepsDigest, can.Reads = connectors.GuardLedger, false, false
	case dropLayout:
		can.Guard, can.KeepsDigest, can.Reads = connectors.GuardNone, false, false
	}
	return can
}
