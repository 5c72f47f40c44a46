package brokerconfig

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/nats-io/nkeys"
)

// SeedFile is the name of a role's secret key, in the role's own directory.
const SeedFile = "seed.nk"

// Keys returns the public nkey of every role. Seeds that are in dir/ROLE already
// are used; the others are made, readable by their owner only. To replace a
// role's key, remove its file first.
func Keys(dir string) (map[Role]string, error) {
	keys := map[Role]string{}
	for _, r := range Roles() {
		if err := os.MkdirAll(filepath.Join(dir, string(r)), 0o700); err != nil {
			return nil, fmt.Errorf("keys: %w", err)
		}
		public, err := key(filepath.Join(dir, string(r), SeedFile))
		if err != nil {
			return nil, fmt.Errorf("key of the %s: %w", r, err)
		}
		keys[r] = public
	}
	return keys, nil
}

func key(file string) (string, error) {
	seed, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		seed, err = newSeed(file)
	}
	if err != nil {
		return "", err
	}
	// The errors of the parser hold nothing of the seed.
	pair, err := nkeys.ParseDecoratedNKey(seed)
	if err != nil {
		return "", fmt.Errorf("%s: %w", file, err)
	}
	defer pair.Wipe()
	return pair.PublicKey()
}

func newSeed(file string) ([]byte, error) {
	pair, err := nkeys.CreateUser()
	if err != nil {
		return nil, err
	}
	defer pair.Wipe()
	seed, err := pair.Seed()
	if err != nil {
		return nil, err
	}
	text := append(bytes.Clone(seed), '\n') // Wipe clears seed
	return text, writeNew(file, text)
}

// writeNew writes a secret into a file that must not be there yet.
func writeNew(file string, data []byte) error {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Close())
}
