package events

import "strings"

// Owns reports whether a stream is one of this installation: a channel's, a
// shared one, or one behind a bucket.
func (n Names) Owns(stream string) bool {
	switch stream {
	case n.DeadStream(), n.ParkedStream(), n.OutcomeStream(), n.AckStream(), n.AuditStream():
		return true
	}
	for _, bucket := range []string{
		n.InstallationBucket(), n.RegistryBucket(), n.LedgerBucket(), n.ProgressBucket(), n.WorkersBucket(), n.LeasesBucket(),
		n.LettersBucket(), n.TokensBucket(), n.IdempotencyBucket(),
	} {
		if stream == KVStream(bucket) {
			return true
		}
	}
	return n.IsUpdateStream(stream)
}

// IsUpdateStream reports whether a stream is that of a channel's updates.
func (n Names) IsUpdateStream(stream string) bool {
	return strings.HasPrefix(stream, n.UpdateStream(""))
}

// Nothing returns a subject that no message has.
func (n Names) Nothing() string { return n.prefix + ".nothing" }
