package events

import (
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// Limits of a key, in bytes.
const (
	// MaxKeyLen bounds a key as the platform writes it.
	MaxKeyLen = 1024
	// maxEncodedLen is where an encoded key is replaced by its hash: a subject
	// over 4 KB makes the server close the connection.
	maxEncodedLen = 200
	hashMark      = "=="
)

// ErrKey says that a key is empty or too long, or that a text is not an encoded
// key.
var ErrKey = errors.New("invalid key")

const upperHex = "0123456789ABCDEF"

func plainKeyByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-'
}

// EncodeKey returns the form of a key that subjects and bucket keys can hold:
// letters, digits, '_' and '-' stay, every other byte becomes =XX. If that is
// longer than 200 bytes it is "==" and the unpadded base32 (RFC 4648) of the
// key's SHA-256 instead, which cannot be turned back. Keys must be valid UTF-8:
// records hold them as JSON strings, which could not carry other bytes exactly.
func EncodeKey(key string) (string, error) {
	if key == "" {
		return "", fmt.Errorf("%w: it is empty", ErrKey)
	}
	if len(key) > MaxKeyLen {
		return "", fmt.Errorf("%w: %d bytes are more than %d", ErrKey, len(key), MaxKeyLen)
	}
	if !utf8.ValidString(key) {
		return "", fmt.Errorf("%w: it is not valid UTF-8", ErrKey)
	}
	size := 0
	for i := range len(key) {
		size++
		if !plainKeyByte(key[i]) {
			size += 2
		}
	}
	if size == len(key) && size <= maxEncodedLen {
		return key, nil
	}
	if size > maxEncodedLen {
		sum := sha256.Sum256([]byte(key))
		return hashMark + base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:]), nil
	}
	return escape(key, '=', plainKeyByte), nil
}

// DecodeKey is the inverse of EncodeKey. It fails with ErrKey for a hashed key,
// whose text is lost, and for anything that EncodeKey does not make.
func DecodeKey(encoded string) (string, error) {
	if strings.HasPrefix(encoded, hashMark) {
		return "", fmt.Errorf("%w: %.80s is a hash", ErrKey, encoded)
	}
	key, ok := unescape(encoded, '=')
	if !ok {
		return "", fmt.Errorf("%w: %.80q is not an encoded key", ErrKey, encoded)
	}
	if again, err := EncodeKey(key); err != nil || again != encoded {
		return "", fmt.Errorf("%w: %.80q is not how a key is encoded", ErrKey, encoded)
	}
	return key, nil
}

// plainHeaderByte says which bytes a key may show as themselves in ce-subject.
func plainHeaderByte(c byte) bool { return c > ' ' && c < 0x7f && c != '%' && c != '"' }

// EncodeHeaderKey returns the percent-encoded form of a key that HeaderSubject holds.
func EncodeHeaderKey(key string) string { return escape(key, '%', plainHeaderByte) }

// DecodeHeaderKey is the inverse of EncodeHeaderKey. It takes any percent-encoded text, and
// fails with ErrKey for another one.
func DecodeHeaderKey(header string) (string, error) {
	key, ok := unescape(header, '%')
	if !ok {
		return "", fmt.Errorf("%w: %.80q is not percent-encoded", ErrKey, header)
	}
	return key, nil
}

func escape(s string, mark byte, plain func(byte) bool) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; plain(c) {
			b.WriteByte(c)
		} else {
			b.Write([]byte{mark, upperHex[c>>4], upperHex[c&15]})
		}
	}
	return b.String()
}

func unescape(s string, mark byte) (string, bool) {
	if strings.IndexByte(s, mark) < 0 {
		return s, true
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != mark {
			b.WriteByte(s[i])
			continue
		}
		if i+2 >= len(s) {
			return "", false
		}
		hi, lo := unhex(s[i+1]), unhex(s[i+2])
		if hi < 0 || lo < 0 {
			return "", false
		}
		b.WriteByte(byte(hi<<4 | lo))
		i += 2
	}
	return b.String(), true
}

func unhex(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	default:
		return -1
	}
}
