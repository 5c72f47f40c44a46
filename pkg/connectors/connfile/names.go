package connfile

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path"
	"strings"
	"time"

	"github.com/hms-utl/extsync/pkg/versioning"
)

// The ends of names that are not of payloads.
const (
	deletedExt = "deleted"
	doneExt    = "done"
	tagExt     = "tag"
	tempExt    = "tmp"
)

// mostName bounds the name of a key, in bytes. A file system takes 255 for a name, of which a
// version, an extension and the parts of a name that lasts for a moment take 80.
const mostName = 128

// keyName returns the name of a key in a file system: a-z, 0-9, - and _ stay, every other
// byte becomes =xx. So no two keys have names that differ in case or in how a letter is
// composed only, no name has a dot, and none is a device's of Windows. A key that
// needs more than mostName bytes has the first 62, == and its SHA-256.
func keyName(key string, upper bool) string {
	const digits = "0123456789abcdef"
	out := make([]byte, 0, mostName)
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
	if len(out) <= mostName {
		return string(out)
	}
	sum := sha256.Sum256([]byte(key))
	const rest = mostName - 2 - 2*sha256.Size
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

// The forms of versions in names. Those of one form sort as the versions do.
const (
	numberLen = 19
	timeForm  = "20060102t150405"
	timeLen   = len(timeForm) + 1 + 9 + 1
)

// versionName returns the form of a version in names: a number with 19 digits, a time as
// 20260301t120000-123456789z.
func versionName(v versioning.Version) string {
	if n, ok := v.Int64(); ok {
		return fmt.Sprintf("%0*d", numberLen, n)
	}
	t, _ := v.AsTime()
	return fmt.Sprintf("%s-%09dz", t.Format(timeForm), t.Nanosecond())
}

// parseVersion is the inverse of versionName.
func parseVersion(name string) (v versioning.Version, ok bool) {
	var err error
	switch len(name) {
	case numberLen:
		digits := strings.TrimLeft(name, "0")
		if strings.Trim(digits, "0123456789") != "" {
			return v, false
		}
		v, err = versioning.Parse(digits)
	case timeLen:
		var t time.Time
		if t, err = time.Parse(timeForm+".000000000z", strings.Replace(name, "-", ".", 1)); err == nil {
			v, err = versioning.Time(t)
		}
	default:
		return v, false
	}
	return v, err == nil && versionName(v) == name
}

// tempName returns a name beside another one, for what is not whole yet. Nobody else
// has it: a writer that was left behind may still write there.
func tempName(name string) string {
	dir, base := path.Split(name)
	return dir + "." + base + "." + random() + "." + tempExt
}

func random() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}
