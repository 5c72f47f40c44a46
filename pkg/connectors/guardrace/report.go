package guardrace

import (
	"fmt"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// A Report tells what came of a race.
type Report struct {
	Guard   connectors.Guard   `json:"guard"`
	Writers int                `json:"writers"`
	Rounds  int                `json:"rounds"` // that were run to their end
	First   versioning.Version `json:"first"`
	// Violations are in the order of their rounds; none if the guard held.
	Violations []Violation `json:"violations"`
	// Left says why the key is still at the target, if it is and no tombstone.
	Left string `json:"left,omitempty"`
}

// A Rule is what a target with a guard does not do.
type Rule string

// The rules.
const (
	// TookOlder: it said OK to Version when Newer had been taken before.
	TookOlder Rule = "took_older"
	// HoldsOlder: it held Version after a round (zero: nothing) when Newer had been taken.
	HoldsOlder Rule = "holds_older"
	// RefusedNewest: it refused Version, the newest of all that were sent.
	RefusedNewest Rule = "refused_newest"
	// RefusedForOlder: it refused Newer because of Version, which is not newer.
	RefusedForOlder Rule = "refused_for_older"
)

// A Violation is one case in which the guard did not hold.
type Violation struct {
	Round   int                `json:"round"`
	Rule    Rule               `json:"rule" enum:"took_older,holds_older,refused_newest,refused_for_older"`
	Version versioning.Version `json:"version,omitzero"`
	Newer   versioning.Version `json:"newer,omitzero"`
}

// String says what the target did, as the rest of a sentence about it.
func (v Violation) String() string {
	switch {
	case v.Rule == TookOlder:
		return fmt.Sprintf("took an older version after a newer one: %s after %s", v.Version, v.Newer)
	case v.Rule == HoldsOlder && v.Version.IsZero():
		return fmt.Sprintf("holds nothing after it took version %s", v.Newer)
	case v.Rule == HoldsOlder:
		return fmt.Sprintf("holds the older version %s after it took the newer %s", v.Version, v.Newer)
	case v.Rule == RefusedForOlder:
		return fmt.Sprintf("refused version %s because it holds %s, which is not newer", v.Newer, v.Version)
	default:
		return fmt.Sprintf("refused version %s, the newest of all", v.Version)
	}
}

// An answer is what came of one writer's attempt.
type answer struct {
	version      versioning.Version
	result       connectors.Result
	begun, ended int64 // moments
}

// unfit returns an error for an answer with which a race cannot go on: it says neither
// that the version was taken nor that it was refused.
func (a answer) unfit() error {
	res := a.result
	switch {
	case res.Class == connectors.OK && res.Code == events.CodeFiltered:
		return fmt.Errorf("the filter keeps version %s back", a.version)
	case res.Class == connectors.OK, res.Class == connectors.Stale, res.Class == connectors.Conflict:
		return nil
	case res.Err == nil:
		return fmt.Errorf("version %s: %s", a.version, res.Class)
	default:
		return fmt.Errorf("version %s: %s: %w", a.version, res.Class, res.Err)
	}
}

// judge finds what cannot be explained by an order in which versions only rise. The
// answers are in the order of their versions. With ignores, OK to an older version may
// mean that it was ignored.
func judge(answers []answer, ignores bool) []Violation {
	var found []Violation
	if last := answers[len(answers)-1]; last.result.Class != connectors.OK {
		found = append(found, Violation{Rule: RefusedNewest, Version: last.version})
	}
	for i, a := range answers {
		if held := a.result.Held.Version; a.result.Class == connectors.Stale && !held.IsZero() && !newer(held, a.version) {
			found = append(found, Violation{Rule: RefusedForOlder, Version: held, Newer: a.version})
		}
		if a.result.Class != connectors.OK || ignores {
			continue
		}
		for _, b := range answers[i+1:] {
			if b.result.Class == connectors.OK && b.ended < a.begun {
				found = append(found, Violation{Rule: TookOlder, Version: a.version, Newer: b.version})
				break
			}
		}
	}
	return found
}

// holds returns a violation unless the target holds the newest version. One that is newer
// still is somebody else's, and no violation.
func holds(held, newest versioning.Version) []Violation {
	if held == newest || newer(held, newest) {
		return nil
	}
	return []Violation{{Rule: HoldsOlder, Version: held, Newer: newest}}
}

func newer(v, w versioning.Version) bool {
	order, err := v.Compare(w)
	return err == nil && order > 0
}
