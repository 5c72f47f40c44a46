package connkit

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// MostKeyName bounds the name of a key, in bytes. A file system takes 255 for a name; what
// a connector adds to it has the rest.
const MostKeyName = 128

// KeyName returns the name of a key in file systems and URLs: a-z, 0-9, - and _ stay, and A-Z if
// upper says so; every other byte becomes =xx. So no two keys have names that differ in case or in how a letter is
// composed only, no name has a dot, and none is a device's of Windows. A key that
// needs more than MostKeyName bytes has the first 62, == and its SHA-256.
func KeyName(key string, upper bool) string {
	const digits = "0123456789abcdef"
	out := make([]byte, 0, MostKeyName)
	device := isDevice(key)
	for i := range len(key) {
		c := key[i]
		switch {
		case i == 0 && device:
			out = append(out, '=', digits[c>>4], digits[c&15])
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '-', c == '_', upper && c >= 'A' && c <= 'Z':
			out = append(out, c)
		default:
			out = append(out, '=', digits[c>>4], digits[c&15])
		}
	}
	if len(out) <= MostKeyName {
		return string(out)
	}
	sum := sha256.Sum256([]byte(key))
	const rest = MostKeyName - 2 - 2*sha256.Size
	return string(out[:rest]) + "==" + hex.EncodeToString(sum[:])
}

// isDevice reports whether Windows takes a name for a device, whatever its extension is.
func isDevice(key string) bool {
	switch lower := strings.ToLower(key); lower {
	case "con", "prn", "aux", "nul":
		return true
	default:
		return len(lower) == 4 && (lower[:3] == "com" || lower[:3] == "lpt") && lower[3] >= '0' && lower[3] <= '9'
	}
}
