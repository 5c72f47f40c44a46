package connfile

import (
	"crypto/rand"
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
