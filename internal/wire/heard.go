package wire

import (
	"strings"

	"github.com/hms-utl/extsync/pkg/events"
)

// Heard returns the subjects on which the broker repeats the keys of a bucket, without
// values, as they are stored. A connection that may make no consumer hears changes there,
// also one of another account: what is stored through an import is heard by nobody else.
func Heard(n events.Names, bucket string) string {
	return n.Prefix() + ".heard." + strings.TrimPrefix(bucket, n.Prefix()+"_") + ".>"
}
