package versioning_test

import (
	"errors"
	"math/rand"
	"testing"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/versioning"
)

func tag(t testing.TB, version, content string) versioning.Tag {
	t.Helper()
	tag := versioning.Tag{}
	if version != "" {
		tag.Version = parse(t, version)
	}
	if content != "" {
		tag.Digest = versioning.Sum("upsert", []byte(content))
	}
	return tag
}

func TestGuard(t *testing.T) {
	const monday, tuesday = "2024-01-01T00:00:00Z", "2024-01-02T00:00:00Z"
	none := versioning.Tag{}
	tests := map[string]struct {
		head, next versioning.Tag
		base       string
		want       versioning.Verdict
		err        error
	}{
		"first of a key":                {head: none, next: tag(t, "1", "a"), want: versioning.Newer},
		"newer":                         {head: tag(t, "7", "a"), next: tag(t, "8", "b"), want: versioning.Newer},
		"newer with the same content":   {head: tag(t, "7", "a"), next: tag(t, "8", "a"), want: versioning.Newer},
		"newer by far":                  {head: tag(t, "7", "a"), next: tag(t, "9223372036854775807", "b"), want: versioning.Newer},
		"same, same content":            {head: tag(t, "7", "a"), next: tag(t, "7", "a"), want: versioning.Duplicate},
		"same, other content":           {head: tag(t, "7", "a"), next: tag(t, "7", "b"), want: versioning.Conflict},
		"same, content unknown here":    {head: tag(t, "7", ""), next: tag(t, "7", "a"), want: versioning.Conflict},
		"same, content unknown there":   {head: tag(t, "7", "a"), next: tag(t, "7", ""), want: versioning.Conflict},
		"same, content unknown on both": {head: tag(t, "7", ""), next: tag(t, "7", ""), want: versioning.Conflict},
		"older":                         {head: tag(t, "7", "a"), next: tag(t, "6", "b"), want: versioning.Stale},
		"older with the same content":   {head: tag(t, "7", "a"), next: tag(t, "6", "a"), want: versioning.Stale},
		"above 2^53 by one":             {head: tag(t, "9007199254740992", "a"), next: tag(t, "9007199254740993", "a"), want: versioning.Newer},
		"later":                         {head: tag(t, monday, "a"), next: tag(t, tuesday, "b"), want: versioning.Newer},
		"later by a nanosecond":         {head: tag(t, monday, "a"), next: tag(t, "2024-01-01T00:00:00.000000001Z", "b"), want: versioning.Newer},
		"the same instant elsewhere":    {head: tag(t, monday, "a"), next: tag(t, "2024-01-01T05:30:00+05:30", "a"), want: versioning.Duplicate},
		"earlier":                       {head: tag(t, tuesday, "a"), next: tag(t, monday, "b"), want: versioning.Stale},

		"base is the head":               {head: tag(t, "7", "a"), next: tag(t, "8", "b"), base: "7", want: versioning.Newer},
		"base is older than the head":    {head: tag(t, "7", "a"), next: tag(t, "8", "b"), base: "6", want: versioning.Conflict},
		"base is newer than the head":    {head: tag(t, "7", "a"), next: tag(t, "9", "b"), base: "8", want: versioning.Conflict},
		"base given but there is none":   {head: none, next: tag(t, "8", "b"), base: "7", want: versioning.Conflict},
		"base of the other kind":         {head: tag(t, "7", "a"), next: tag(t, "8", "b"), base: monday, want: versioning.Conflict},
		"a repeat is harmless with base": {head: tag(t, "8", "b"), next: tag(t, "8", "b"), base: "7", want: versioning.Duplicate},
		"older with base":                {head: tag(t, "7", "a"), next: tag(t, "6", "b"), base: "7", want: versioning.Stale},

		"a time after a number": {head: tag(t, "7", "a"), next: tag(t, monday, "a"), want: versioning.Refused, err: versioning.ErrKindMismatch},
		"a number after a time": {head: tag(t, monday, "a"), next: tag(t, "7", "a"), want: versioning.Refused, err: versioning.ErrKindMismatch},
		"no version":            {head: tag(t, "7", "a"), next: tag(t, "", "a"), want: versioning.Refused, err: versioning.ErrSyntax},
		"nothing after nothing": {head: none, next: none, want: versioning.Refused, err: versioning.ErrSyntax},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var base versioning.Version
			if tt.base != "" {
				base = parse(t, tt.base)
			}
			got, err := versioning.Guard(tt.head, tt.next, base)
			if got != tt.want || !errors.Is(err, tt.err) {
				t.Errorf("Guard = %s, %v, want %s, %v", got, err, tt.want, tt.err)
			}
		})
	}
}

// A publisher that follows the guard, with every kind of repetition, reordering
// and competition, never moves a head backwards.
func TestHeadNeverGoesBackwards(t *testing.T) {
	r := testkit.Seeded(t)
	for range 2000 {
		var head versioning.Tag
		for _, next := range randomPublishes(r) {
			var base versioning.Version
			if r.Intn(4) == 0 {
				base = randomVersion(r)
			}
			verdict, err := versioning.Guard(head, next, base)
			checkVerdict(t, head, next, base, verdict, err)
			if verdict == versioning.Newer {
				head = next
			}
		}
	}
}

// Without competition for a version, what is published last in any order is the
// newest of all.
func TestAnyOrderEndsAtTheNewest(t *testing.T) {
	r := testkit.Seeded(t)
	for range 2000 {
		publishes := randomPublishes(r)
		kind := publishes[0].Version.Kind()
		var head, newest versioning.Tag
		for _, next := range publishes {
			if next.Version.Kind() != kind {
				continue
			}
			verdict, err := versioning.Guard(head, next, versioning.Version{})
			if err != nil {
				t.Fatal(err)
			}
			if verdict == versioning.Newer {
				head = next
			}
			if order, err := next.Version.Compare(newest.Version); err != nil || order > 0 {
				newest = next
			}
		}
		if head.Version != newest.Version {
			t.Fatalf("the head is %s, the newest is %s", head.Version, newest.Version)
		}
	}
}

// randomPublishes returns versions of one key in a random order, many of them
// more than once, some with other content.
func randomPublishes(r *rand.Rand) []versioning.Tag {
	var out []versioning.Tag
	for len(out) < 12 {
		v := randomVersion(r)
		if v.IsZero() {
			continue
		}
		content := []byte{'a' + byte(r.Intn(2))}
		for range 1 + r.Intn(3) {
			out = append(out, versioning.Tag{Version: v, Digest: versioning.Sum("upsert", content)})
		}
	}
	r.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out
}

// checkVerdict states the guard table once more, in other words than the code.
func checkVerdict(t *testing.T, head, next versioning.Tag, base versioning.Version, got versioning.Verdict, err error) {
	t.Helper()
	if (got == versioning.Refused) != (err != nil) {
		t.Fatalf("verdict %s came with error %v", got, err)
	}
	mixed := !head.IsZero() && head.Version.Kind() != next.Version.Kind()
	order, _ := next.Version.Compare(head.Version)
	forward := !mixed && order > 0
	holds := map[versioning.Verdict]bool{
		versioning.Refused:   mixed,
		versioning.Newer:     forward && (base.IsZero() || base == head.Version),
		versioning.Duplicate: head == next,
		versioning.Stale:     !mixed && order < 0,
		versioning.Conflict:  forward && !base.IsZero() && base != head.Version || head.Version == next.Version && head != next,
	}
	for verdict, applies := range holds {
		if applies != (verdict == got) {
			t.Fatalf("head %v, next %v, base %s: verdict %s, but %s applies: %t", head, next, base, got, verdict, applies)
		}
	}
}

func TestVerdictString(t *testing.T) {
	for verdict, want := range map[versioning.Verdict]string{
		versioning.Refused: "refused", versioning.Newer: "newer", versioning.Duplicate: "duplicate",
		versioning.Stale: "stale", versioning.Conflict: "conflict", 99: "refused",
	} {
		if got := verdict.String(); got != want {
			t.Errorf("%d = %q, want %q", verdict, got, want)
		}
	}
}
