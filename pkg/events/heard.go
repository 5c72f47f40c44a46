package events

import "strings"

// Heard returns the subjects on which the broker repeats the keys of a bucket, without
// values, as they are stored. A connection that may make no consumer hears changes there,
// also one of another account: what is stored through an import is heard by nobody else.
func (n Names) Heard(bucket string) string {
	return n.prefix + ".heard." + strings.TrimPrefix(bucket, n.prefix+"_") + ".>"
}
