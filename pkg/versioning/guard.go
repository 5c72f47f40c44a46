package versioning

// A Tag identifies one content of one version of an entity. The zero Tag means
// that there is nothing yet.
type Tag struct {
	Version Version `json:"version"`
	Digest  Digest  `json:"digest"`
}

// IsZero reports whether the tag names no version.
func (t Tag) IsZero() bool { return t.Version.IsZero() }

// A Verdict is what the guard says of a new version.
type Verdict uint8

// The verdicts of Guard.
const (
	// Refused is the zero value: nothing was decided. It comes with an error.
	Refused Verdict = iota
	// Newer: the new version may replace the head.
	Newer
	// Duplicate: the head is this very content of this very version.
	Duplicate
	// Stale: the head is a newer version.
	Stale
	// Conflict: the head is the same version with another content, or it is not
	// the version that the new one was made from.
	Conflict
)

// String returns the verdict in lower case.
func (v Verdict) String() string {
	switch v {
	case Newer:
		return "newer"
	case Duplicate:
		return "duplicate"
	case Stale:
		return "stale"
	case Conflict:
		return "conflict"
	default:
		return "refused"
	}
}

// Guard decides what may become of next when head is what is there. base is the
// version that next was made from; zero when its maker did not say.
//
//	next against head       verdict
//	newer                   Newer (Conflict if base is given and is not head)
//	same, same digest       Duplicate, whatever base says: a repeated publish
//	                        finds itself as the head and must be harmless
//	same, other digest      Conflict
//	older                   Stale
//
// An unknown digest on either side of one version counts as another content:
// what cannot be shown to be equal is surfaced. Versions of different kinds give
// Refused and ErrKindMismatch; a next without version gives Refused and
// ErrSyntax.
func Guard(head, next Tag, base Version) (Verdict, error) {
	if next.IsZero() {
		return Refused, ErrSyntax
	}
	order, err := next.Version.Compare(head.Version)
	if err != nil {
		return Refused, err
	}
	switch {
	case order < 0:
		return Stale, nil
	case order == 0 && next.Digest == head.Digest && !next.Digest.IsZero():
		return Duplicate, nil
	case order == 0:
		return Conflict, nil
	case !base.IsZero() && base != head.Version:
		return Conflict, nil
	default:
		return Newer, nil
	}
}
