package operate

import "github.com/hms-utl/extsync/pkg/versioning"

// A Disagreement is how the platform and the broker disagree about a key.
type Disagreement string

// The disagreements.
const (
	CompareMissing Disagreement = "missing" // the broker lacks it
	CompareBehind  Disagreement = "behind"  // the broker has an older version
	CompareAhead   Disagreement = "ahead"   // the broker has a newer version
	CompareDiffers Disagreement = "differs" // the same version with other content, or a version of another kind
	CompareGone    Disagreement = "gone"    // the platform does not have it, and the broker does
	CompareBad     Disagreement = "bad"     // the row is no update
)

// A Disagreeing is a key about which platform and broker disagree.
type Disagreeing struct {
	Finding  Disagreement       `json:"finding"`
	Target   string             `json:"target"`
	Key      string             `json:"key"`
	Platform versioning.Version `json:"platform,omitzero"`
	Broker   versioning.Version `json:"broker,omitzero"`
	// Note says why the row is bad, or could not be published.
	Note string `json:"note,omitempty"`
	// Repaired says that the platform's version was published.
	Repaired bool `json:"repaired,omitempty"`
}

// A Comparison counts rows of the platform, and keys that are gone from it.
type Comparison struct {
	Rows     int64 `json:"rows"`
	Agree    int64 `json:"agree"`
	Missing  int64 `json:"missing"`
	Behind   int64 `json:"behind"`
	Ahead    int64 `json:"ahead"`
	Differs  int64 `json:"differs"`
	Gone     int64 `json:"gone"`
	Bad      int64 `json:"bad"`
	Repaired int64 `json:"repaired"` // of those that are missing or behind
}

// Open returns how many disagreements were not repaired.
func (s *Comparison) Open() int64 {
	return s.Missing + s.Behind + s.Ahead + s.Differs + s.Gone + s.Bad - s.Repaired
}

// Counts returns how many rows and keys there are of each result.
func (s *Comparison) Counts() map[string]int64 {
	out := map[string]int64{"agree": s.Agree}
	for _, d := range []Disagreement{CompareMissing, CompareBehind, CompareAhead, CompareDiffers, CompareGone, CompareBad} {
		out[string(d)] = *s.count(d)
	}
	return out
}

// count returns the counter of a disagreement.
func (s *Comparison) count(d Disagreement) *int64 {
	switch d {
	case CompareMissing:
		return &s.Missing
	case CompareBehind:
		return &s.Behind
	case CompareAhead:
		return &s.Ahead
	case CompareDiffers:
		return &s.Differs
	case CompareGone:
		return &s.Gone
	case CompareBad:
		return &s.Bad
	}
	return &s.Agree
}
