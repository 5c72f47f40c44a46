// Package jsonfile is a small complete connector: it keeps the newest version of
// each key as a JSON file. docs/writing-a-connector.md explains it.
//
// The directory must be on a file system that has hard links and keeps what it has
// synced. On another one guarantees 1 and 2 do not hold.
package jsonfile

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connkit"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// Config is the connector.config of a channel.
type Config struct {
	// Directory is where the files are.
	Directory string `yaml:"directory" required:"true" format:"path" example:"/var/lib/extsync/people" group:"Target" doc:"The files are in this directory, which must exist; the worker's operator must allow it in allow.databases."`
}

// Kind returns the connector kind "jsonfile".
func Kind() connectors.Kind {
	return connectors.Kind{
		Name: "jsonfile", Summary: "a JSON file for each key", Config: Config{},
		Capabilities: connectors.Capabilities{Guard: connectors.GuardAtomic, KeepsDigest: true, KeepsTombstone: true, Probes: true, Reads: true},
		NeedsJSON:    func([]byte) bool { return true },
		Check:        func(config []byte) error { return connectors.DecodeStrict(config, new(Config)) },
		Open: func(_ context.Context, env connectors.Env, config []byte) (connectors.Connector, error) {
			var c Config
			if err := connectors.DecodeStrict(config, &c); err != nil {
				return nil, connkit.Misconfigured("config", err)
			}
			directory, err := env.DataPath(c.Directory) // an error unless the operator lets us write there
			return &connector{directory}, err
		},
	}
}

// A connector has a directory for each key, and in it a file for each version. The newest
// file is what is held; those before it are removed. That is the guard: whoever comes late
// with an older version can add a file, but never become the newest. It is safe for
// concurrent use, as all that it knows is in the files.
type connector struct{ directory string }

// A document is what a file holds. A deleted entity keeps its version, so that an older
// update that comes late does not bring it back.
type document struct {
	versioning.Tag
	Key     string          `json:"key"`
	Op      events.Op       `json:"op"`
	Content json.RawMessage `json:"content,omitempty"`
}

// Apply writes each attempt and says what came of it.
func (c *connector) Apply(ctx context.Context, attempts []connectors.Attempt) []connectors.Result {
	return connkit.OneByOne(ctx, attempts, c.apply)
}

func (c *connector) apply(ctx context.Context, a *connectors.Attempt) connectors.Result {
	if _, ok := a.Version.Int64(); !ok {
		return connectors.Failed(connectors.Permanent, "version", errors.New("the version is a time, and only numbers are taken"))
	}
	if a.Op == events.Upsert && !json.Valid(a.Payload) {
		return connectors.Failed(connectors.Permanent, "payload", errors.New("the payload is not valid JSON")) // and is not shown
	}
	next := document{Key: a.Key, Tag: versioning.Tag{Version: a.Version, Digest: a.Digest}, Op: a.Op, Content: a.Payload}
	for again := a.Again; ctx.Err() == nil; {
		held, err := c.newest(a.Key)
		verdict, _ := versioning.Guard(held.Tag, next.Tag, versioning.Version{}) // both are numbers
		switch {
		case err != nil:
		case verdict == versioning.Stale:
			return connectors.Result{Class: connectors.Stale, Code: "stale", Err: errors.New("a newer version is there"), Held: held.Tag}
		case verdict == versioning.Conflict:
			return connectors.Result{Class: connectors.Conflict, Code: "conflict", Err: errors.New("this version has another content"), Held: held.Tag}
		case verdict == versioning.Newer:
			err = c.add(next, os.Link) // fails if another writer was faster with this version
		case again:
			err, again = c.add(next, os.Rename), false
		default: // it is the newest
			if err = c.settle(a.Key); err == nil {
				return connectors.Done()
			}
		}
		if err != nil && !errors.Is(err, fs.ErrExist) {
			e := classify(err)
			return connectors.Failed(e.Class, e.Code, e.Err)
		}
	}
	return connectors.Failed(connectors.Transient, "canceled", ctx.Err())
}

// of returns the directory of a key, whatever characters the key has.
func (c *connector) of(key string) string {
	return filepath.Join(c.directory, fmt.Sprintf("%x", sha256.Sum256([]byte(key))))
}

// newest returns the newest document of a key, the zero document if there is none.
func (c *connector) newest(key string) (d document, err error) {
	files, err := os.ReadDir(c.of(key)) // in the order of their names
	if errors.Is(err, fs.ErrNotExist) {
		_, err = os.Stat(c.directory) // is it all of the directory that is not there?
	}
	if err != nil || len(files) == 0 {
		return d, err
	}
	data, err := os.ReadFile(filepath.Join(c.of(key), files[len(files)-1].Name()))
	if errors.Is(err, fs.ErrNotExist) {
		return c.newest(key) // a newer one has taken its place
	}
	err = errors.Join(err, json.Unmarshal(data, &d)) // of nothing, that is an error, too
	return d, err
}

// add writes a file that is whole before place gives it its name, which sorts as the
// versions do.
func (c *connector) add(d document, place func(from, to string) error) error {
	f, err := os.CreateTemp(c.directory, ".new-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }() // it is gone if it was renamed
	if err := errors.Join(json.NewEncoder(f).Encode(d), f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Mkdir(c.of(d.Key), 0o750); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	number, _ := d.Version.Int64()
	return place(f.Name(), filepath.Join(c.of(d.Key), fmt.Sprintf("%020d.json", number)))
}

// settle waits until the names of a key's files are on the disk, and then removes all but
// the newest.
func (c *connector) settle(key string) error {
	for _, name := range []string{c.of(key), c.directory} {
		dir, err := os.Open(name)
		if err = errors.Join(err, dir.Sync(), dir.Close()); err != nil {
			return err
		}
	}
	files, err := os.ReadDir(c.of(key))
	for i := range len(files) - 1 {
		_ = os.Remove(filepath.Join(c.of(key), files[i].Name())) // if it fails, the next update tries again
	}
	return err
}

// Probe looks whether the directory is there.
func (c *connector) Probe(context.Context) error {
	if _, err := os.Stat(c.directory); err != nil {
		return classify(err)
	}
	return nil
}

// Read returns what the files hold of the keys.
func (c *connector) Read(_ context.Context, keys []string) ([]connectors.Held, error) {
	held := make([]connectors.Held, len(keys))
	for i, key := range keys {
		d, err := c.newest(key)
		if err != nil {
			return nil, classify(err)
		}
		held[i] = connectors.Held{Tag: d.Tag, Op: d.Op}
	}
	return held, nil
}

// Close has nothing to release.
func (c *connector) Close(context.Context) error { return nil }

// classify says what the engine is to do about an error of the file system.
func classify(err error) *connectors.Error {
	switch {
	case errors.Is(err, fs.ErrPermission):
		return &connectors.Error{Class: connectors.Misconfigured, Code: "permission", Err: errors.New("the directory cannot be written to")}
	case errors.Is(err, fs.ErrNotExist): // a file system that is not mounted now
		return &connectors.Error{Class: connectors.Transient, Code: "missing", Err: errors.New("the directory is not there")}
	}
	return &connectors.Error{Class: connectors.Transient, Code: "file", Err: errors.New("the file system fails")}
}
