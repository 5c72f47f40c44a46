package faults

import (
	"time"

	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// A Write is one version that a target has applied. Times are monotonic, counted
// from the start of the target.
type Write struct {
	Key string
	versioning.Tag
	Op      events.Op
	Worker  string // as the worker calls itself; "" where the target cannot know
	Attempt int    // 0 where the target cannot know
	At      time.Duration
}

// A Call is one request to a target, whatever came of it. It is in flight from
// From to To: until it was answered, or the caller hung up.
type Call struct {
	Key      string
	Version  versioning.Version
	Worker   string
	Attempt  int
	From, To time.Duration
	Answer   string // what the target did: "200", "503", "cut", "gone"
}

// An Absence is a time in which a worker could neither hear nor end anything: it
// was frozen, or cut off from the target.
type Absence struct {
	Worker   string
	From, To time.Duration
}

// A History is all that a target has seen of one channel.
type History struct {
	// Writes in the order in which they were applied.
	Writes []Write
	// Calls in the order in which they arrived. nil: the target does not see
	// them, as a database does not, and nothing is said about them.
	Calls []Call
	// Held is what the target holds at the end.
	Held map[string]versioning.Tag
	// Absences excuse calls in flight at once: what a worker had put on the wire
	// before it froze cannot be taken back. They excuse no write.
	Absences []Absence
}

// An Accepted is an update that a publisher has a receipt for.
type Accepted struct {
	Key string
	versioning.Tag
	// Uncertain: the publisher got no answer. The update may or may not be
	// stored; without an outcome it counts as never published.
	Uncertain bool
	// Replayed: it was sent again on purpose and may have one more outcome each
	// time.
	Replayed bool
}
