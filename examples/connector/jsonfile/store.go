package jsonfile

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// A document is what a file holds. A deleted entity keeps its version, so that
// an older update that comes late does not bring it back.
type document struct {
	Key     string            `json:"key"`
	Version int64             `json:"version"`
	Digest  versioning.Digest `json:"digest"`
	Op      events.Op         `json:"op"`
	Content json.RawMessage   `json:"content,omitempty"`
}

func (d document) tag() versioning.Tag {
	if d.Version == 0 {
		return versioning.Tag{}
	}
	return versioning.Tag{Version: versioning.Must(versioning.Number(d.Version)), Digest: d.Digest}
}

func newDocument(a connectors.Attempt) (document, error) {
	number, ok := a.Version.Int64()
	if !ok {
		return document{}, errors.New("the version is a time, and only numbers are taken")
	}
	d := document{Key: a.Key, Version: number, Digest: a.Digest, Op: a.Op}
	if a.Op == events.Delete {
		return d, nil
	}
	if !json.Valid(a.Payload) {
		return document{}, errors.New("the payload is not valid JSON") // and is not shown
	}
	d.Content = a.Payload
	return d, nil
}

// A store has a directory for each key, and in it a file for each version. The
// newest file is what is held; those before it are removed. That is the guard:
// whoever comes late with an older version can add a file, but never become the
// newest.
type store struct{ directory string }

// of returns the directory of a key, whatever characters the key has.
func (s store) of(key string) string {
	sum := sha256.Sum256([]byte(key))
	return filepath.Join(s.directory, hex.EncodeToString(sum[:]))
}

// name sorts as the versions do.
func name(version int64) string { return fmt.Sprintf("%020d.json", version) }

// put adds a document and returns the newest one. A version that is there stays
// as it is, unless it is the same content and is to be written again.
func (s store) put(d document, again bool) (document, error) {
	data, err := json.Marshal(d)
	if err != nil {
		return document{}, err
	}
	held, err := s.newest(d.Key)
	if err != nil || held.Version > d.Version {
		return held, err
	}
	if held.Version == d.Version && (held.Digest != d.Digest || !again) {
		return held, nil
	}
	// A file appears under its name with all of its content or not at all.
	temp, err := s.temporary(data)
	if err != nil {
		return document{}, err
	}
	defer func() { _ = os.Remove(temp) }() // it is gone if it was renamed
	dir := s.of(d.Key)
	if err := os.Mkdir(dir, 0o750); err != nil && !errors.Is(err, fs.ErrExist) {
		return document{}, err
	}
	path := filepath.Join(dir, name(d.Version))
	if held.Version == d.Version {
		err = os.Rename(temp, path)
	} else {
		err = os.Link(temp, path) // fails if another one was faster with this version
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return document{}, err
	}
	if held, err = s.newest(d.Key); err != nil {
		return document{}, err
	}
	return held, s.tidy(d.Key, held.Version)
}

// temporary writes a file that is whole on the disk before it gets its name.
func (s store) temporary(data []byte) (path string, err error) {
	f, err := os.CreateTemp(s.directory, ".new-*")
	if err != nil {
		return "", err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return "", errors.Join(err, os.Remove(f.Name()))
	}
	return f.Name(), nil
}

// newest returns the newest document of a key, the zero document if there is
// none.
func (s store) newest(key string) (document, error) {
	if _, err := os.Stat(s.directory); err != nil {
		return document{}, err
	}
	for {
		files, err := os.ReadDir(s.of(key)) // in the order of their names
		if errors.Is(err, fs.ErrNotExist) || err == nil && len(files) == 0 {
			return document{}, nil
		}
		if err != nil {
			return document{}, err
		}
		data, err := os.ReadFile(filepath.Join(s.of(key), files[len(files)-1].Name()))
		if errors.Is(err, fs.ErrNotExist) {
			continue // a newer one has taken its place
		}
		if err != nil {
			return document{}, err
		}
		var d document
		return d, json.Unmarshal(data, &d)
	}
}

// tidy removes the documents before the newest.
func (s store) tidy(key string, newest int64) error {
	files, err := os.ReadDir(s.of(key))
	if err != nil {
		return err
	}
	for _, f := range files {
		if f.Name() >= name(newest) {
			break
		}
		if err := os.Remove(filepath.Join(s.of(key), f.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
