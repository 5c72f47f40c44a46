package versioning

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
)

// ErrDigest says that a text is not 64 hexadecimal digits.
var ErrDigest = errors.New("not a digest")

// A Digest tells two contents of one version apart. The zero Digest means
// "unknown"; no content has it.
type Digest [sha256.Size]byte

// Sum returns the digest of what an update does: SHA-256 (FIPS 180-4) over the
// name of the operation, one line feed (0x0A), and the payload bytes.
func Sum(op string, payload []byte) Digest {
	h := sha256.New()
	h.Write([]byte(op))
	h.Write([]byte{'\n'})
	h.Write(payload)
	var d Digest
	h.Sum(d[:0])
	return d
}

// IsZero reports whether the digest is unknown.
func (d Digest) IsZero() bool { return d == Digest{} }

// String returns 64 lower-case hexadecimal digits, "" for the zero Digest.
func (d Digest) String() string {
	if d.IsZero() {
		return ""
	}
	return hex.EncodeToString(d[:])
}

// AppendString appends what String returns to out.
func (d Digest) AppendString(out []byte) []byte {
	if d.IsZero() {
		return out
	}
	return hex.AppendEncode(out, d[:])
}

// Short returns the first 16 hexadecimal digits, which the message id carries.
func (d Digest) Short() string { return hex.EncodeToString(d[:8]) }

// MarshalText returns the text form. It never fails.
func (d Digest) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads 64 hexadecimal digits; an empty text is the zero Digest.
func (d *Digest) UnmarshalText(b []byte) error {
	if len(b) == 0 {
		*d = Digest{}
		return nil
	}
	if len(b) != hex.EncodedLen(len(d)) {
		return fmt.Errorf("%w: %d characters instead of %d", ErrDigest, len(b), hex.EncodedLen(len(d)))
	}
	var w Digest
	if _, err := hex.Decode(w[:], b); err != nil {
		return fmt.Errorf("%w: %w", ErrDigest, err)
	}
	*d = w
	return nil
}
