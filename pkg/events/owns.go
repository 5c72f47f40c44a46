package events

import "strings"

// Owns reports whether a stream is one of this installation: a channel's, a
// shared one, or one behind a bucket.
func (n Names) Owns(stream string) bool {
	switch stream {
	case n.DeadStream(), n.ParkedStream(), n.OutcomeStream(), n.AckStream():
		return true
	}
	for _, bucket := range []string{n.RegistryBucket(), n.LedgerBucket(), n.ProgressBucket(), n.WorkersBucket(), n.LeasesBucket(), n.LettersBucket()} {
		if stream == KVStream(bucket) {
			return true
		}
	}
	return strings.HasPrefix(stream, n.UpdateStream(""))
}
