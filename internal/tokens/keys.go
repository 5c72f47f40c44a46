package tokens

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"

	"github.com/hms-utl/extsync/pkg/connectors"
)

// The types of the blocks of a key file.
const (
	privateBlock = "PRIVATE KEY"
	publicBlock  = "PUBLIC KEY"
)

// maxKeyFile bounds a key file, in bytes.
const maxKeyFile = 64 << 10

// Keys are the public keys whose signatures count. Without one nothing counts.
type Keys []ed25519.PublicKey

// An AdminKey signs tokens and their revocations: who has it is an administrator.
// Keys are those whose signatures count beside its own, while one key takes the place
// of another.
type AdminKey struct {
	private ed25519.PrivateKey
	Keys    Keys
}

// ReadKeys reads the public keys of a PEM file: as they are, or as halves of private
// ones. The error wraps connectors.ErrConfig.
func ReadKeys(file string) (Keys, error) {
	_, keys, err := readKeyFile(file)
	return keys, err
}

// ReadAdminKey reads the private key of a PEM file, and the public ones that are
// listed beside it. The error wraps connectors.ErrConfig.
func ReadAdminKey(file string) (*AdminKey, error) {
	private, keys, err := readKeyFile(file)
	if err != nil {
		return nil, err
	}
	if private == nil {
		return nil, fmt.Errorf("%w: %s: it holds public keys only, which cannot sign", connectors.ErrConfig, file)
	}
	return &AdminKey{private: private, Keys: keys}, nil
}

func readKeyFile(file string) (ed25519.PrivateKey, Keys, error) {
	data, err := readLimited(file)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: key file: %w", connectors.ErrConfig, err)
	}
	private, keys, err := parseKeys(data)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %s: %w", connectors.ErrConfig, file, err)
	}
	return private, keys, nil
}

func readLimited(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // only read
	data, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
	if err == nil && len(data) > maxKeyFile {
		err = fmt.Errorf("%s: it is larger than %d bytes", file, maxKeyFile)
	}
	return data, err
}

// parseKeys returns the private key, if there is one, and all public ones. Its errors
// show nothing of a key.
func parseKeys(data []byte) (private ed25519.PrivateKey, keys Keys, err error) {
	rest := data
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		var public ed25519.PublicKey
		switch block.Type {
		case privateBlock:
			if private != nil {
				return nil, nil, errors.New("it holds more than one private key")
			}
			key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
			own, ok := key.(ed25519.PrivateKey)
			if err != nil || !ok {
				return nil, nil, errors.New("the private key is no Ed25519 key in PKCS #8")
			}
			private = own
			public, _ = own.Public().(ed25519.PublicKey) // it is always one
		case publicBlock:
			key, err := x509.ParsePKIXPublicKey(block.Bytes)
			other, ok := key.(ed25519.PublicKey)
			if err != nil || !ok {
				return nil, nil, errors.New("a public key is no Ed25519 key in PKIX")
			}
			public = other
		default:
			return nil, nil, errors.New("it holds something else than keys")
		}
		keys = append(keys, public)
	}
	if len(keys) == 0 || len(bytes.TrimSpace(rest)) > 0 {
		return nil, nil, errors.New("it is no PEM file of keys; 'extsync tokens key' makes one")
	}
	return private, keys, nil
}

// MakeKey writes a new key into a file that its owner alone may read, and its public
// half into another. A key that is there already stays, and made is false. The
// error wraps connectors.ErrConfig if that one cannot be used.
func MakeKey(file, publicFile string) (made bool, err error) {
	_, err = os.Stat(file)
	if made = errors.Is(err, fs.ErrNotExist); made {
		if err := newKey(file); err != nil {
			return false, fmt.Errorf("admin key: %w", err)
		}
	}
	key, err := ReadAdminKey(file)
	if err != nil {
		return false, err
	}
	var page bytes.Buffer
	for _, public := range key.Keys {
		der, err := x509.MarshalPKIXPublicKey(public)
		if err != nil {
			return false, fmt.Errorf("admin key: %w", err)
		}
		_ = pem.Encode(&page, &pem.Block{Type: publicBlock, Bytes: der}) // a buffer takes all
	}
	if err := os.WriteFile(publicFile, page.Bytes(), 0o644); err != nil { //nolint:gosec // everybody may read a public key
		return false, fmt.Errorf("admin key: %w", err)
	}
	return made, nil
}

func newKey(file string) error {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(pem.Encode(f, &pem.Block{Type: privateBlock, Bytes: der}), f.Close())
}

func (k *AdminKey) sign(kind string, body []byte) []byte {
	return ed25519.Sign(k.private, signedText(kind, body))
}

func (k Keys) verify(kind string, body, signature []byte) bool {
	return slices.ContainsFunc(k, func(public ed25519.PublicKey) bool {
		return ed25519.Verify(public, signedText(kind, body), signature)
	})
}

// signedText is what a signature is of. The kind keeps a token from being taken for
// something else that the key has signed.
func signedText(kind string, body []byte) []byte {
	return append([]byte("extsync "+kind+"\n"), body...)
}

// Sign signs something that is no token. Who verifies it names the same kind.
func (k *AdminKey) Sign(kind string, body []byte) []byte { return k.sign("other "+kind, body) }

// Verify reports whether one of the keys has signed it, by Sign.
func (k Keys) Verify(kind string, body, signature []byte) bool {
	return k.verify("other "+kind, body, signature)
}

// EphemeralKey returns a new key that is kept nowhere.
func EphemeralKey() (*AdminKey, error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	return &AdminKey{private: private, Keys: Keys{public}}, nil
}

// Has reports whether a key is among the keys.
func (k Keys) Has(key ed25519.PublicKey) bool {
	return slices.ContainsFunc(k, func(own ed25519.PublicKey) bool { return own.Equal(key) })
}
