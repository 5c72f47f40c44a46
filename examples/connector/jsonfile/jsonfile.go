// Package jsonfile is a small complete connector: it keeps the newest version of
// each key as a JSON file. docs/writing-a-connector.md explains it.
package jsonfile

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/hms-utl/extsync/pkg/connectors"
)

// Config is the connector.config of a channel.
type Config struct {
	// Directory is where the files are. It must exist. Required.
	Directory string `yaml:"directory"`
}

// Decode reads a configuration strictly and validates it.
func Decode(data []byte) (Config, error) {
	var c Config
	if err := connectors.DecodeStrict(data, &c); err != nil {
		return c, err
	}
	var p connectors.Problems
	if c.Directory == "" {
		p.Add("directory", "it is missing")
	}
	return c, p.Err()
}

// Kind returns the connector kind "jsonfile".
func Kind() connectors.Kind {
	return connectors.Kind{
		Name:    "jsonfile",
		Summary: "a JSON file for each key",
		Capabilities: connectors.Capabilities{
			Guard: connectors.GuardAtomic, KeepsDigest: true, KeepsTombstone: true, Probes: true, Reads: true,
		},
		Check: func(config []byte) error {
			_, err := Decode(config)
			return err
		},
		Open: func(_ context.Context, env connectors.Env, config []byte) (connectors.Connector, error) {
			c, err := Decode(config)
			if err != nil {
				return nil, &connectors.Error{Class: connectors.Misconfigured, Code: "config", Err: err}
			}
			directory, err := env.DataPath(c.Directory) // where the worker's operator lets us write
			if err != nil {
				return nil, err
			}
			return &connector{store: store{directory: directory}}, nil
		},
	}
}

// connector is safe for concurrent use: all that it knows is in the files.
type connector struct{ store store }

var (
	_ connectors.Connector = (*connector)(nil)
	_ connectors.Prober    = (*connector)(nil)
	_ connectors.Reader    = (*connector)(nil)
)

// Apply writes each attempt and says what came of it.
func (c *connector) Apply(ctx context.Context, attempts []connectors.Attempt) []connectors.Result {
	results := make([]connectors.Result, len(attempts))
	for i, a := range attempts {
		results[i] = c.apply(ctx, a)
	}
	return results
}

func (c *connector) apply(ctx context.Context, a connectors.Attempt) connectors.Result {
	if err := ctx.Err(); err != nil {
		return connectors.Failed(connectors.Transient, "canceled", err)
	}
	doc, err := newDocument(a)
	if err != nil {
		return connectors.Failed(connectors.Permanent, "update", err)
	}
	held, err := c.store.put(doc, a.Again)
	if err != nil {
		e := classify(err)
		return connectors.Failed(e.Class, e.Code, e.Err)
	}
	res := connectors.Result{Held: held.tag()}
	switch {
	case held.Version > doc.Version:
		res.Class, res.Code = connectors.Stale, "stale"
		res.Err = fmt.Errorf("there is version %d, which is newer", held.Version)
	case held.Digest != doc.Digest:
		res.Class, res.Code = connectors.Conflict, "conflict"
		res.Err = fmt.Errorf("there is version %d with another content", held.Version)
	default:
		return connectors.Done()
	}
	return res
}

// Probe looks whether the directory is there.
func (c *connector) Probe(context.Context) error {
	if _, err := os.Stat(c.store.directory); err != nil {
		return classify(err)
	}
	return nil
}

// Read returns what the files hold of the keys.
func (c *connector) Read(ctx context.Context, keys []string) ([]connectors.Held, error) {
	held := make([]connectors.Held, len(keys))
	for i, key := range keys {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		doc, err := c.store.newest(key)
		if err != nil {
			return nil, classify(err)
		}
		if doc.Version > 0 {
			held[i] = connectors.Held{Tag: doc.tag(), Op: doc.Op}
		}
	}
	return held, nil
}

// Close has nothing to release.
func (c *connector) Close(context.Context) error { return nil }

// classify says what the engine is to do about an error of the file system.
func classify(err error) *connectors.Error {
	e := &connectors.Error{Class: connectors.Transient, Code: "file", Err: errors.New("the file system fails")}
	switch {
	case errors.Is(err, fs.ErrPermission):
		e.Class, e.Code, e.Err = connectors.Misconfigured, "permission", errors.New("the directory cannot be written to")
	case errors.Is(err, fs.ErrNotExist):
		e.Code, e.Err = "missing", errors.New("the directory is not there") // a file system that is not mounted now
	}
	return e
}
