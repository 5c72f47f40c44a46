package channels

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/hms-utl/extsync/pkg/schema"
)

// Bytes is a size in bytes. Configurations write it as a number or with a binary
// unit: KiB, MiB, GiB or TiB.
type Bytes int64

// byteUnits are the units, largest first.
var byteUnits = [...]struct { //nolint:gochecknoglobals // a constant that the language cannot express as one
	name string
	size int64
}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}}

// String returns the size in the largest unit that divides it.
func (b Bytes) String() string {
	for _, u := range byteUnits {
		if int64(b) >= u.size && int64(b)%u.size == 0 {
			return strconv.FormatInt(int64(b)/u.size, 10) + u.name
		}
	}
	return strconv.FormatInt(int64(b), 10)
}

// Rounded returns the size for people: with one digit behind the point where it is
// no round number.
func (b Bytes) Rounded() string {
	for _, u := range byteUnits {
		if int64(b) >= u.size {
			return strconv.FormatFloat(math.Round(float64(b)/float64(u.size)*10)/10, 'f', -1, 64) + u.name
		}
	}
	return b.String() + " bytes"
}

// MarshalText returns String.
func (b Bytes) MarshalText() ([]byte, error) { return []byte(b.String()), nil }

// ConfigFormat returns the format of sizes.
func (b Bytes) ConfigFormat() string { return schema.FormatBytes }

// UnmarshalText reads a whole number, with a unit or without.
func (b *Bytes) UnmarshalText(text []byte) error {
	s, factor := strings.TrimSpace(string(text)), int64(1)
	for _, u := range byteUnits {
		if digits, ok := strings.CutSuffix(s, u.name); ok {
			s, factor = strings.TrimSpace(digits), u.size
			break
		}
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 || n > math.MaxInt64/factor {
		return fmt.Errorf("%q is not a size such as 1048576, 64MiB or 2GiB", text)
	}
	*b = Bytes(n * factor)
	return nil
}
