package conformance

import (
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// declared compares what the kind is declared to do with what the target is said to
// promise: the one is shown to people, the other is what the suite tests.
func declared(r *run) {
	can := r.open().Can()
	strong := can.Guard == connectors.GuardAtomic || can.Guard == connectors.GuardConditional
	switch {
	case can.Guard == "":
		r.Error("the kind declares no guard")
	case strong && !r.Guarded:
		r.Errorf("the kind declares the guard %s; say Guarded, so that it is tested", can.Guard)
	case strong && (can.KeepsDigest != r.KeepsDigest || can.KeepsTombstone != r.Tombstones):
		r.Errorf("the kind is declared to keep digests %v, tombstones %v; the target is said to %v, %v", can.KeepsDigest, can.KeepsTombstone, r.KeepsDigest, r.Tombstones)
	case r.Guarded && !strong && can.Guard != connectors.GuardByFormat, r.KeepsDigest && !can.KeepsDigest, r.Tombstones && !can.KeepsTombstone:
		r.Errorf("the target promises more than the kind declares: %s", can)
	}
}

func noAttempts(r *run) {
	if got := r.open().Apply(r.Context(), nil); len(got) != 0 {
		r.Errorf("Apply gave %d results for no attempts", len(got))
	}
}

func fresh(r *run) {
	c := r.open()
	for name, v := range map[string]versioning.Version{
		"one":   number(1),
		"large": number(1<<53 + 1), // a float64 would make it even
		"most":  number(math.MaxInt64),
	} {
		a := r.upsert(r.prefix+name, v, "fresh")
		r.wantOK(name, r.apply(c, a))
		r.wantHeld(a)
	}
}

func sameAgain(r *run) {
	c := r.open()
	a := r.upsert(r.prefix+"k", number(7), "same")
	r.wantOK("first", r.apply(c, a))
	a.Number = 2
	r.wantOK("again", r.apply(c, a))
	r.wantHeld(a)
	// Another connector knows nothing of the first one's call.
	a.Again = true
	r.wantOK("replay by another connector", r.apply(r.open(), a))
	r.wantHeld(a)
}

func olderAfterNewer(r *run) {
	c := r.open()
	newer, older := r.upsert(r.prefix+"k", number(9), "newer"), r.upsert(r.prefix+"k", number(8), "older")
	r.wantOK("newer", r.apply(c, newer))
	if !r.refuses() {
		r.wantOK("older", r.apply(c, older))
		r.NotApplicable("it does not refuse older versions (Guarded, Ordered)")
		return
	}
	r.want("older", r.apply(c, older), connectors.Stale, newer.Version)
	r.wantHeld(newer)
	older.Again = true // a replay may repeat a version, never go back behind one
	r.want("older as a replay", r.apply(c, older), connectors.Stale, newer.Version)
	r.wantHeld(newer)
}

func otherContent(r *run) {
	if !r.KeepsDigest {
		r.NotApplicable("it does not keep digests (KeepsDigest)")
		return
	}
	c := r.open()
	first, other := r.upsert(r.prefix+"k", number(3), "first"), r.upsert(r.prefix+"k", number(3), "other")
	r.wantOK("first", r.apply(c, first))
	res := r.apply(c, other)
	r.want("other content", res, connectors.Conflict, first.Version)
	if res.Held.Digest != first.Digest {
		r.Errorf("Held.Digest is %q, want that of the first content", res.Held.Digest)
	}
	r.wantHeld(first)
	other.Again = true
	r.want("other content as a replay", r.apply(c, other), connectors.Conflict, first.Version)
	r.wantHeld(first)
}

func times(r *run) {
	if !r.Times {
		r.NotApplicable("its versions are numbers (Times)")
		return
	}
	c := r.open()
	at := time.Date(2026, 3, 1, 12, 0, 0, 123456788, time.UTC)
	first := r.upsert(r.prefix+"k", versioning.Must(versioning.Time(at)), "first")
	second := r.upsert(r.prefix+"k", versioning.Must(versioning.Time(at.Add(time.Nanosecond))), "second")
	whole := r.upsert(r.prefix+"k", versioning.Must(versioning.Time(at.Truncate(time.Second).Add(time.Second))), "whole")
	for _, a := range []connectors.Attempt{first, second, whole} {
		r.wantOK(a.Version.String(), r.apply(c, a))
		r.wantHeld(a)
	}
	if r.refuses() {
		r.want("a time before", r.apply(c, second), connectors.Stale, whole.Version)
		r.wantHeld(whole)
	}
}

// oddKeys: keys that a URL, a collation, a quoting rule or a column width could
// take for one another.
func oddKeys(r *run) {
	c := r.open()
	var all []connectors.Attempt
	for i, key := range []string{
		"case", "CASE", "accent", "accént", "accent\u0301", "trail", "trail ", " trail",
		"a/b", "a%2Fb", "a%2fb", "a?b=c", "a#b", "a;b", "a&b", "a+b", "a b", "..", ".",
		`a'b`, `a"b`, "a`b", `a\b`, "a$1b", "{key}", "a\tb", "a\nb", "日本語", "\U0001F600", strings.Repeat("k", 1000),
	} {
		a := r.upsert(r.prefix+key, number(int64(i)+1), "odd")
		r.wantOK(a.Key, r.apply(c, a))
		all = append(all, a)
	}
	for _, a := range all {
		r.wantHeld(a)
	}
}

func lateUpsert(r *run) {
	c := r.open()
	r.wantOK("upsert", r.apply(c, r.upsert(r.prefix+"k", number(1), "first")))
	gone := r.remove(r.prefix+"k", number(3))
	r.wantOK("tombstone", r.apply(c, gone))
	r.wantHeld(gone)
	r.wantOK("tombstone again", r.apply(c, gone))
	r.wantHeld(gone)
	if !r.Tombstones {
		r.NotApplicable("a deleted key leaves no version behind (Tombstones)")
		return
	}
	r.want("late upsert", r.apply(c, r.upsert(r.prefix+"k", number(2), "late")), connectors.Stale, gone.Version)
	r.wantHeld(gone)
	if r.KeepsDigest {
		r.want("upsert of the tombstone's version", r.apply(c, r.upsert(r.prefix+"k", number(3), "")), connectors.Conflict, gone.Version)
		r.wantHeld(gone)
	}
}

func tombstoneOfUnknown(r *run) {
	c := r.open()
	gone := r.remove(r.prefix+"k", number(2))
	r.wantOK("tombstone", r.apply(c, gone))
	r.wantHeld(gone)
	if !r.Tombstones {
		r.NotApplicable("a deleted key leaves no version behind (Tombstones)")
		return
	}
	r.want("late upsert", r.apply(c, r.upsert(r.prefix+"k", number(1), "late")), connectors.Stale, gone.Version)
	r.wantHeld(gone)
}

func upsertAfterTombstone(r *run) {
	c := r.open()
	r.wantOK("upsert", r.apply(c, r.upsert(r.prefix+"k", number(1), "first")))
	r.wantOK("tombstone", r.apply(c, r.remove(r.prefix+"k", number(2))))
	back := r.upsert(r.prefix+"k", number(3), "back")
	r.wantOK("upsert again", r.apply(c, back))
	r.wantHeld(back)
	if !r.refuses() {
		return
	}
	r.want("late tombstone", r.apply(c, r.remove(r.prefix+"k", number(2))), connectors.Stale, back.Version)
	r.wantHeld(back)
}

func reads(r *run) {
	c := r.open()
	if !c.Can().Reads {
		r.NotApplicable("the connector is not declared to read")
		return
	}
	if r.Read == nil {
		r.NotApplicable("nobody else can tell what it holds (Read)")
		return
	}
	there, gone := r.upsert(r.prefix+"there", number(5), "read"), r.remove(r.prefix+"gone", number(6))
	r.wantOK("upsert", r.apply(c, there))
	r.wantOK("tombstone", r.apply(c, gone))
	keys := []string{gone.Key, r.prefix + "never", there.Key, there.Key}
	got, err := c.Read(r.Context(), keys)
	if err != nil {
		r.checkText("the error of Read", err.Error())
		r.Fatalf("Read: %v", err)
	}
	if len(got) != len(keys) {
		r.Fatalf("Read gave %d answers for %d keys", len(got), len(keys))
	}
	truth := r.holds(keys...)
	for i, key := range keys {
		want := truth[key]
		if key == gone.Key && !r.Tombstones && c.Can().KeepsTombstone {
			// The target refuses nothing for it, and still it is there.
			want = connectors.Held{Tag: versioning.Tag{Version: gone.Version, Digest: gone.Digest}, Op: events.Delete}
		}
		if got[i].Version != want.Version || got[i].Op != want.Op || r.KeepsDigest && got[i].Digest != want.Digest {
			r.Errorf("Read says %+v of %s, the target holds %+v", got[i], key, want)
		}
	}
	if none, err := c.Read(r.Context(), nil); err != nil || len(none) != 0 {
		r.Errorf("Read of no keys gave %v, %v", none, err)
	}
}

// lists: every key that was written is listed once, in pages, in an order that stays.
func lists(r *run) {
	c := r.open()
	if !c.Can().Lists {
		r.NotApplicable("the connector is not declared to list")
		return
	}
	want := map[string]bool{}
	for i := range 5 {
		key := r.prefix + strconv.Itoa(i)
		r.wantOK(key, r.apply(c, r.upsert(key, number(1), "list")))
		want[key] = true
	}
	const page, most = 100, 1_000_000
	seen := map[string]bool{}
	for after := ""; len(seen) < most; {
		keys, err := c.List(r.Context(), after, page)
		if err != nil {
			r.checkText("the error of List", err.Error())
			r.Fatalf("List: %v", err)
		}
		if len(keys) > page {
			r.Fatalf("List gave %d keys where %d were asked for", len(keys), page)
		}
		for _, key := range keys {
			if seen[key] {
				r.Fatalf("List gave %.60q twice", key)
			}
			seen[key] = true
			delete(want, key)
		}
		if len(keys) < page {
			break
		}
		after = keys[len(keys)-1]
	}
	for key := range want {
		r.Errorf("List did not give %.60q", key)
	}
}
