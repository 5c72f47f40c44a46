// Package versioning holds the rules by which extsync decides whether one
// version of an entity may replace another. It is pure: no clock, no network,
// nothing but values and comparisons.
package versioning

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"time"
)

// Errors of this package. Callers match them with errors.Is.
var (
	// ErrSyntax says that a text is neither a number in 1..2^63-1 nor an
	// RFC 3339 time.
	ErrSyntax = errors.New("not a version")
	// ErrKindMismatch says that a number was compared with a time. The versions
	// of one key are all numbers or all times.
	ErrKindMismatch = errors.New("versions of different kinds")
)

// timePattern is the form of RFC 3339. Package time takes more: an hour of one
// digit, a comma, and any number of digits of a second, which it cuts after the
// ninth, so that two versions would become one.
var timePattern = regexp.MustCompile(
	`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)$`)

// Kind tells what a Version is made of.
type Kind uint8

// The kinds of a Version. None is the zero value: no version.
const (
	None Kind = iota
	Numbered
	Timed
)

// MaxTextLen bounds the text form of a version, in bytes. The longest number
// has 19 digits, the longest time 35 bytes.
const MaxTextLen = 40

// A Version orders the updates of one key. It is a number in 1..2^63-1 or a
// point in time with a resolution of one nanosecond (years 1 to 9999). The zero
// Version means "no version" and sorts before every other. Versions may be
// compared with == and used as map keys.
type Version struct {
	n    int64 // the number, or seconds since the Unix epoch
	ns   int32 // nanoseconds within the second
	kind Kind
}

// Number returns the version n. It fails with ErrSyntax if n is below 1.
func Number(n int64) (Version, error) {
	if n < 1 {
		return Version{}, fmt.Errorf("%w: %d is outside 1..9223372036854775807", ErrSyntax, n)
	}
	return Version{kind: Numbered, n: n}, nil
}

// Time returns the version that stands for t, whatever its zone. It fails with
// ErrSyntax if the year is outside 1..9999, which RFC 3339 cannot write.
func Time(t time.Time) (Version, error) {
	t = t.UTC()
	if y := t.Year(); y < 1 || y > 9999 {
		return Version{}, fmt.Errorf("%w: year %d is outside 1..9999", ErrSyntax, y)
	}
	return Version{kind: Timed, n: t.Unix(), ns: int32(t.Nanosecond())}, nil
}

// Must returns v and panics if err is not nil. It is meant for constants:
// versioning.Must(versioning.Number(7)).
func Must(v Version, err error) Version {
	if err != nil {
		panic(err)
	}
	return v
}

// Parse reads the text form of a version: a decimal number without sign or
// leading zeros, or an RFC 3339 time in any zone.
func Parse(s string) (Version, error) {
	if s == "" || len(s) > MaxTextLen {
		return Version{}, fmt.Errorf("%w: length %d is outside 1..%d", ErrSyntax, len(s), MaxTextLen)
	}
	if allDigits(s) {
		if s[0] == '0' {
			return Version{}, fmt.Errorf("%w: %q starts with a zero; the first version is 1", ErrSyntax, s)
		}
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			return Version{}, fmt.Errorf("%w: %q is outside 1..9223372036854775807", ErrSyntax, s)
		}
		return Number(n)
	}
	if !timePattern.MatchString(s) {
		return Version{}, notVersion(s)
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return Version{}, notVersion(s)
	}
	return Time(t)
}

func allDigits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

func notVersion(s string) error {
	return fmt.Errorf("%w: %q is neither a number nor an RFC 3339 time with at most nine digits of a second", ErrSyntax, s)
}

// Kind returns what v is made of.
func (v Version) Kind() Kind { return v.kind }

// IsZero reports whether v is "no version".
func (v Version) IsZero() bool { return v.kind == None }

// Int64 returns the number of a Numbered version, and false for any other.
func (v Version) Int64() (int64, bool) { return v.n, v.kind == Numbered }

// AsTime returns the time of a Timed version in UTC, and false for any other.
func (v Version) AsTime() (time.Time, bool) {
	if v.kind != Timed {
		return time.Time{}, false
	}
	return time.Unix(v.n, int64(v.ns)).UTC(), true
}

// String returns the canonical text: the digits of a number, or the time in UTC
// with as many digits of a second as it needs. The zero Version gives "".
func (v Version) String() string {
	var buf [MaxTextLen]byte
	return string(v.AppendString(buf[:0]))
}

// AppendString appends what String returns to out.
func (v Version) AppendString(out []byte) []byte {
	switch v.kind {
	case Numbered:
		return strconv.AppendInt(out, v.n, 10)
	case Timed:
		return time.Unix(v.n, int64(v.ns)).UTC().AppendFormat(out, time.RFC3339Nano)
	default:
		return out
	}
}

// Compare returns -1, 0 or +1 as v is older than, equal to or newer than w. The
// zero Version is older than every other. A number and a time cannot be
// compared: ErrKindMismatch.
func (v Version) Compare(w Version) (int, error) {
	if v.kind != w.kind && !v.IsZero() && !w.IsZero() {
		return 0, fmt.Errorf("%w: %s and %s", ErrKindMismatch, v, w)
	}
	return cmp.Or(cmp.Compare(v.kind, w.kind), cmp.Compare(v.n, w.n), cmp.Compare(v.ns, w.ns)), nil
}

// MarshalText returns the text form. It never fails.
func (v Version) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// UnmarshalText reads the text form; an empty text is the zero Version.
func (v *Version) UnmarshalText(b []byte) error {
	if len(b) == 0 {
		*v = Version{}
		return nil
	}
	w, err := Parse(string(b))
	if err != nil {
		return err
	}
	*v = w
	return nil
}

// MarshalJSON writes the text form as a JSON string, numbers too: a reader that
// keeps numbers as floats would change those above 2^53 without a word.
func (v Version) MarshalJSON() ([]byte, error) { return json.Marshal(v.String()) }

// UnmarshalJSON reads a JSON string or a JSON integer, exactly. null and ""
// give the zero Version. 7.0 and 7e0 are refused.
func (v *Version) UnmarshalJSON(b []byte) error {
	b = bytes.TrimSpace(b)
	if bytes.Equal(b, []byte("null")) {
		*v = Version{}
		return nil
	}
	if len(b) > 0 && b[0] == '"' {
		var s string
		if err := json.Unmarshal(b, &s); err != nil {
			return fmt.Errorf("%w: %w", ErrSyntax, err)
		}
		return v.UnmarshalText([]byte(s))
	}
	if !allDigits(string(b)) {
		return fmt.Errorf("%w: JSON value must be a string or an integer of at least 1", ErrSyntax)
	}
	return v.UnmarshalText(b)
}
