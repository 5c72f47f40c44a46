package brokerconfig

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/nats-io/nkeys"

	"github.com/hms-utl/extsync/internal/tokens"
)

// SeedFile is the name of a role's secret key, in the role's own directory;
// OldSeedFile that of the one before, which stays valid while it is there.
const (
	SeedFile    = "seed.nk"
	OldSeedFile = "seed.old.nk"
)

// Keys returns the public nkey of each of some roles. Seeds that are in dir/ROLE already
// are used; the others are made, readable by their owner only. To replace a
// role's key, make its file the OldSeedFile first.
func Keys(dir string, roles []Role) (map[Role]string, error) {
	keys := map[Role]string{}
	for _, r := range roles {
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

// The administrators' key, which signs tokens, is in a directory of its own: no process
// that runs all the time needs it. TokenKeysFile is its public half, for those that serve
// the HTTP API, in the directories of their roles.
const (
	SignerDir     = "signer"
	AdminKeyFile  = "admin.key"
	TokenKeysFile = "admin.key.pub"
)

// AdminKey makes the administrators' key in dir, unless it is there, and gives its
// public half to the gateway and to the admin. Keys makes their directories.
func AdminKey(dir string) error {
	if err := os.MkdirAll(filepath.Join(dir, SignerDir), 0o700); err != nil {
		return fmt.Errorf("admin key: %w", err)
	}
	for _, r := range []Role{Gateway, Admin} {
		if _, err := tokens.MakeKey(filepath.Join(dir, SignerDir, AdminKeyFile), filepath.Join(dir, string(r), TokenKeysFile)); err != nil {
			return err
		}
	}
	return nil
}

// OldKeys returns the public nkeys of the OldSeedFiles that are in dir/ROLE.
func OldKeys(dir string, roles []Role) (map[Role]string, error) {
	keys := map[Role]string{}
	for _, r := range roles {
		public, err := public(filepath.Join(dir, string(r), OldSeedFile))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("old key of the %s: %w", r, err)
		}
		keys[r] = public
	}
	return keys, nil
}

func key(file string) (string, error) {
	if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
		if err := newSeed(file); err != nil {
			return "", err
		}
	}
	return public(file)
}

// public returns the public half of the seed in a file.
func public(file string) (string, error) {
	seed, err := os.ReadFile(file)
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

func newSeed(file string) error {
	pair, err := nkeys.CreateUser()
	if err != nil {
		return err
	}
	defer pair.Wipe()
	seed, err := pair.Seed()
	if err != nil {
		return err
	}
	return writeNew(file, append(seed, '\n'))
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
