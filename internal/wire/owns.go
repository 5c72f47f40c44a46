package wire

import (
	"github.com/hms-utl/extsync/pkg/events"
)

// Owns reports whether a stream is one of this installation: a channel's, a
// shared one, or one behind a bucket.
func OwnsStream(n events.Names, stream string) bool {
	switch stream {
	case DeadStream(n), ParkedStream(n), OutcomeStream(n), AckStream(n), AuditStream(n):
		return true
	}
	for _, bucket := range []string{
		InstallationBucket(n), RegistryBucket(n), LedgerBucket(n), ProgressBucket(n), WorkersBucket(n), LeasesBucket(n),
		LettersBucket(n), TokensBucket(n), SessionsBucket(n), JobsBucket(n), IdempotencyBucket(n),
	} {
		if stream == KVStream(bucket) {
			return true
		}
	}
	return IsUpdateStream(n, stream)
}

// Nothing returns a subject that no message has.
func Nothing(n events.Names) string { return n.Prefix() + ".nothing" }
