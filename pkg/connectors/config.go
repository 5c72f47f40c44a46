package connectors

import (
	"time"

	"github.com/hms-utl/extsync/pkg/schema"
)

// ErrConfig says that a configuration is not valid. The message names every bad
// field.
var ErrConfig = schema.ErrInvalid

// MaxConfigLen bounds a configuration document, in bytes.
const MaxConfigLen = schema.MaxLen

// Problems collects what is wrong with a configuration.
type Problems = schema.Problems

// DecodeStrict reads one YAML (or JSON) document of up to MaxConfigLen bytes into out, a
// pointer to a struct or a map, fills in the defaults that its tags give, and checks what
// they demand; see package schema. The error wraps ErrConfig and names everything that is
// wrong. An empty document leaves out with its defaults. A kind that has more to check
// uses the methods of Problems, so that all is told at once.
func DecodeStrict(data []byte, out any) error {
	var p Problems
	p.Decode(data, out)
	p.Check(out)
	return p.Err()
}

// Duration is a time.Duration that is written like "30s" or "7d" in
// configurations.
type Duration time.Duration

// D returns the duration as the standard library's type.
func (d Duration) D() time.Duration { return time.Duration(d) }

// ConfigFormat returns the format of durations.
func (d Duration) ConfigFormat() string { return schema.FormatDuration }

// MarshalText writes the duration as time.Duration does.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText reads a duration with its unit, see schema.ParseDuration.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := schema.ParseDuration(string(b))
	if err != nil {
		return err
	}
	*d = Duration(v)
	return nil
}
