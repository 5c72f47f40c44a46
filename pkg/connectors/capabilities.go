package connectors

import "strings"

// A Guard says how strongly a target keeps a version from being replaced by an older
// one that comes late.
type Guard string

// The guards, the strongest first.
const (
	// GuardAtomic: the write itself compares, at the target.
	GuardAtomic Guard = "atomic"
	// GuardConditional: the connector reads, then writes under a condition of the target's
	// own.
	GuardConditional Guard = "conditional"
	// GuardByFormat: every write says its version, and the receiver must ignore what is
	// older.
	GuardByFormat Guard = "by format"
	// GuardLedger: only extsync's own order keeps it.
	GuardLedger Guard = "ledger"
	// GuardNone: every version is kept beside the others.
	GuardNone Guard = "none"
)

// Meaning says in a sentence what the guard is; it is empty for a word that is none.
func (g Guard) Meaning() string {
	switch g {
	case GuardAtomic:
		return "the write itself compares versions, at the target"
	case GuardConditional:
		return "the connector reads, then writes under a condition of the target's own"
	case GuardByFormat:
		return "each write says its version, and the receiver must ignore what is older"
	case GuardLedger:
		return "only extsync's own order keeps an older version from coming last"
	case GuardNone:
		return "every version is kept beside the others"
	default:
		return ""
	}
}

// Capabilities are what a connector and its target can do. They are declared: what is
// declared must be there, and what is not declared is not used. The zero value can
// nothing but be written to.
type Capabilities struct {
	Guard Guard `json:"guard"`
	// KeepsDigest: the target tells two contents of one version apart.
	KeepsDigest bool `json:"keeps_digest"`
	// KeepsTombstone: a deleted key keeps its version.
	KeepsTombstone bool `json:"keeps_tombstone"`
	// Probes, Reads, Compares, Fetches, Lists, Batches and Previews: the connector is a Prober,
	// a Reader, a Comparer, a Fetcher, a Lister, a Batcher and a Previewer.
	Probes   bool `json:"probes"`
	Reads    bool `json:"reads"`
	Compares bool `json:"compares"`
	Fetches  bool `json:"fetches"`
	Lists    bool `json:"lists"`
	Batches  bool `json:"batches"`
	Previews bool `json:"previews"`
	// Remembers: the connector uses Attempt.Refs and gives Result.Remember.
	Remembers bool `json:"remembers"`
}

// String returns the capabilities in one line for people.
func (c Capabilities) String() string {
	var keeps, can []string
	for _, w := range []struct {
		there bool
		list  *[]string
		word  string
	}{
		{c.KeepsDigest, &keeps, "digests"},
		{c.KeepsTombstone, &keeps, "tombstones"},
		{c.Probes, &can, "probed"},
		{c.Reads, &can, "read"},
		{c.Compares, &can, "compared"},
		{c.Fetches, &can, "shown"},
		{c.Lists, &can, "listed"},
		{c.Previews, &can, "previewed"},
	} {
		if w.there {
			*w.list = append(*w.list, w.word)
		}
	}
	out := "guard " + string(c.Guard)
	if len(keeps) > 0 {
		out += "; keeps " + strings.Join(keeps, " and ")
	}
	if len(can) > 0 {
		out += "; can be " + strings.Join(can, ", ")
	}
	if c.Remembers {
		out += "; remembers what was answered"
	}
	if c.Batches {
		out += "; takes batches"
	}
	return out
}
