package wire_test

import (
	"reflect"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/internal/wire/wiretest"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// summary shows a record in one line: applied, settled, recent, state, pending.
type summary struct {
	applied, settled string
	recent           []string
	state            wire.State
	pending          string
}

func summarize(r wire.Record) summary {
	s := summary{
		applied: r.Applied.Version.String(), settled: r.Settled.Version.String(),
		state: r.State, pending: r.Pending.Version.String(),
	}
	for _, e := range r.Recent {
		s.recent = append(s.recent, e.Version.String()+" "+string(e.Outcome))
	}
	return s
}

func TestRecordAdd(t *testing.T) {
	type step struct {
		version string
		outcome events.Outcome
	}
	tests := map[string]struct {
		steps []step
		want  summary
	}{
		"delivered": {
			[]step{{"7a", events.Delivered}},
			summary{"7", "7", []string{"7 delivered"}, wire.StateSettled, ""},
		},
		"delivered, then a newer one": {
			[]step{{"7a", events.Delivered}, {"8a", events.Delivered}},
			summary{"8", "8", []string{"8 delivered", "7 delivered"}, wire.StateSettled, ""},
		},
		"dead letter moves settled, not applied": {
			[]step{{"7a", events.Delivered}, {"8a", events.DeadLettered}},
			summary{"7", "8", []string{"8 dead_lettered", "7 delivered"}, wire.StateSettled, ""},
		},
		"conflict at the target moves settled, not applied": {
			[]step{{"7a", events.Delivered}, {"8a", events.Conflict}},
			summary{"7", "8", []string{"8 conflict", "7 delivered"}, wire.StateSettled, ""},
		},
		"superseded counts as settled": {
			[]step{{"7a", events.Superseded}, {"8a", events.Delivered}},
			summary{"8", "8", []string{"8 delivered", "7 superseded"}, wire.StateSettled, ""},
		},
		"superseded after the newer one": {
			[]step{{"8a", events.Delivered}, {"7a", events.Superseded}},
			summary{"8", "8", []string{"7 superseded", "8 delivered"}, wire.StateSettled, ""},
		},
		"other content of the settled version": {
			[]step{{"7a", events.Delivered}, {"7b", events.Conflict}},
			summary{"7", "7", []string{"7 conflict", "7 delivered"}, wire.StateSettled, ""},
		},
		"a replay of a dead letter": {
			[]step{{"7a", events.DeadLettered}, {"7a", events.Delivered}},
			summary{"7", "7", []string{"7 delivered"}, wire.StateSettled, ""},
		},
		"retrying": {
			[]step{{"7a", events.Delivered}, {"8a", wire.Retrying}},
			summary{"7", "7", []string{"7 delivered"}, wire.StateRetrying, "8"},
		},
		"retrying, then delivered": {
			[]step{{"8a", wire.Retrying}, {"8a", events.Delivered}},
			summary{"8", "8", []string{"8 delivered"}, wire.StateSettled, ""},
		},
		"retrying, then overtaken": {
			[]step{{"8a", wire.Retrying}, {"9a", events.Delivered}},
			summary{"9", "9", []string{"9 delivered"}, wire.StateSettled, ""},
		},
		"an older one ends while retrying": {
			[]step{{"8a", wire.Retrying}, {"7a", events.Superseded}},
			summary{"", "7", []string{"7 superseded"}, wire.StateRetrying, "8"},
		},
		"a newer one is retried": {
			[]step{{"8a", wire.Retrying}, {"9a", wire.Retrying}},
			summary{"", "", nil, wire.StateRetrying, "9"},
		},
		"parked": {
			[]step{{"8a", wire.Retrying}, {"8a", wire.Parked}},
			summary{"", "", nil, wire.StateParked, "8"},
		},
		"parked, then an older one ends": {
			[]step{{"8a", wire.Parked}, {"7a", events.Superseded}},
			summary{"", "7", []string{"7 superseded"}, wire.StateParked, "8"},
		},
		"parked, then overtaken": {
			[]step{{"8a", wire.Parked}, {"9a", events.Delivered}},
			summary{"9", "9", []string{"9 delivered"}, wire.StateSettled, ""},
		},
		"reset forgets everything": {
			[]step{{"7a", events.Delivered}, {"8a", wire.Parked}, {"8a", wire.Reset}},
			summary{"", "", nil, wire.StateSettled, ""},
		},
		"after a reset an older version counts": {
			[]step{{"7a", events.Delivered}, {"7a", wire.Reset}, {"3a", events.Delivered}},
			summary{"3", "3", []string{"3 delivered"}, wire.StateSettled, ""},
		},
		"only the last eight are remembered": {
			[]step{
				{"1a", events.Delivered},
				{"2a", events.Delivered},
				{"3a", events.Delivered},
				{"4a", events.Delivered},
				{"5a", events.Delivered},
				{"6a", events.Delivered},
				{"7a", events.Delivered},
				{"8a", events.Delivered},
				{"9a", events.DeadLettered},
			},
			summary{"8", "9", []string{
				"9 dead_lettered", "8 delivered", "7 delivered", "6 delivered", "5 delivered", "4 delivered", "3 delivered", "2 delivered",
			}, wire.StateSettled, ""},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var r wire.Record
			for i, s := range tt.steps {
				r.Add(wiretest.Entry(t, s.version, s.outcome), wiretest.Place(uint64(i+1)))
			}
			if got := summarize(r); !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got  %+v\nwant %+v", got, tt.want)
			}
			if r.Format != wire.Format || r.Key != "k" || r.Seq != uint64(len(tt.steps)) {
				t.Errorf("format %d, key %q, seq %d", r.Format, r.Key, r.Seq)
			}
			if failing := r.State != wire.StateSettled; failing != (r.Error != nil) || failing != (r.Attempts > 0) || failing == r.NextAttempt.IsZero() {
				t.Errorf("state %s with error %v, attempts %d, next %v", r.State, r.Error, r.Attempts, r.NextAttempt)
			}
		})
	}
}

func TestRecordAddOfAppliedContent(t *testing.T) {
	var r wire.Record
	e := wiretest.Entry(t, "7a", events.Delivered)
	e.Op = events.Delete
	r.Add(e, wiretest.Place(1))
	if want := (wire.Applied{Tag: testkit.Tag(t, "7a"), Op: events.Delete, At: e.At}); r.Applied != want {
		t.Errorf("applied = %+v, want %+v", r.Applied, want)
	}
	// A delivery of an older version, from a frozen worker, is no step back.
	r.Add(wiretest.Entry(t, "6a", events.Delivered), wiretest.Place(2))
	if r.Applied.Version != testkit.Version(t, "7") || r.Settled.Version != testkit.Version(t, "7") {
		t.Errorf("applied %s, settled %s", r.Applied.Version, r.Settled.Version)
	}
}

func TestRecordAddOfAMalformedUpdate(t *testing.T) {
	var r wire.Record
	r.Add(wiretest.Entry(t, "7a", events.Delivered), wiretest.Place(1))
	before := summarize(r)
	r.Add(wire.Entry{Key: "k", Settlement: events.Settlement{Outcome: events.DeadLettered}}, wiretest.Place(2))
	if got := summarize(r); !reflect.DeepEqual(got, before) || r.Seq != 2 {
		t.Errorf("got %+v at %d, want %+v at 2", got, r.Seq, before)
	}
}

// A new owner applies the log's tail to records that may be ahead of it.
func TestRecordAddOfWhatIsReflected(t *testing.T) {
	log := []wire.Entry{
		wiretest.Entry(t, "6a", events.Delivered), wiretest.Entry(t, "7a", wire.Retrying), wiretest.Entry(t, "7a", events.Delivered),
		wiretest.Entry(t, "8a", wire.Retrying), wiretest.Entry(t, "8a", events.DeadLettered),
	}
	var r wire.Record
	for i, e := range log {
		r.Add(e, wiretest.Place(uint64(i+1)))
	}
	want, err := r.Encode()
	if err != nil {
		t.Fatal(err)
	}
	for i, e := range log {
		r.Add(e, wiretest.Place(uint64(i+1)))
		got, err := r.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != string(want) {
			t.Fatalf("entry %d changed the record:\n%s\nit was:\n%s", i+1, got, want)
		}
	}
}

// A parked key stays parked when an older version of it ends.
func TestRecordAddWhileParked(t *testing.T) {
	r := wire.Record{Format: wire.Format, Key: "k", State: wire.StateParked, Pending: testkit.Tag(t, "8a"), Attempts: 5, LogPosition: wiretest.Place(1)}
	r.Add(wiretest.Entry(t, "7a", events.Superseded), wiretest.Place(2))
	if r.State != wire.StateParked || r.Pending.Version != testkit.Version(t, "8") || r.Attempts != 5 {
		t.Errorf("state %s, pending %s, attempts %d", r.State, r.Pending.Version, r.Attempts)
	}
	r.Add(wiretest.Entry(t, "8a", events.Delivered), wiretest.Place(3))
	if r.State != wire.StateSettled || !r.Pending.IsZero() {
		t.Errorf("state %s, pending %s", r.State, r.Pending.Version)
	}
}

// The ledger writes a copy of the record while the next entry is added.
func TestRecordAddLeavesCopiesAlone(t *testing.T) {
	var r wire.Record
	for i, v := range []string{"1a", "2a", "3a", "4a", "5a", "6a", "7a", "8a", "9a", "5a"} {
		shared := r
		want := slices.Clone(r.Recent)
		r.Add(wiretest.Entry(t, v, events.Delivered), wiretest.Place(uint64(i+1)))
		if !slices.Equal(shared.Recent, want) {
			t.Fatalf("adding %s changed a copy from %v to %v", v, want, shared.Recent)
		}
	}
}

// However many outcomes follow: what was settled never goes back, and every
// version that was logged keeps an answer.
func TestRecordOverRandomLogs(t *testing.T) {
	outcomes := []events.Outcome{events.Delivered, events.Superseded, events.Conflict, events.DeadLettered, wire.Retrying, wire.Parked}
	r := testkit.Seeded(t)
	for range 500 {
		var rec wire.Record
		final := map[versioning.Tag]bool{}
		for seq := range uint64(40) {
			before := rec
			s := string(rune('1'+r.Intn(9))) + string(rune('a'+r.Intn(2)))
			e := wiretest.Entry(t, s, outcomes[r.Intn(len(outcomes))])
			rec.Add(e, wiretest.Place(seq+1))
			if older(t, rec.Settled, before.Settled) || older(t, rec.Applied.Tag, before.Applied.Tag) {
				t.Fatalf("%s %s: from %+v back to %+v", s, e.Outcome, summarize(before), summarize(rec))
			}
			if len(rec.Recent) > 8 {
				t.Fatalf("%d settlements are remembered", len(rec.Recent))
			}
			if wire.Final(e.Outcome) {
				final[testkit.Tag(t, s)] = true
				if got, ok := rec.OutcomeOf(testkit.Tag(t, s)); !ok || got.Outcome != e.Outcome {
					t.Fatalf("%s ended as %s, read back as %+v, %t", s, e.Outcome, got, ok)
				}
			}
			for known := range final {
				if got, ok := rec.OutcomeOf(known); ok && !wire.Final(got.Outcome) {
					t.Fatalf("%v has outcome %+v", known, got)
				} else if !ok && older(t, known, rec.Settled) {
					t.Fatalf("%v is older than what is settled and has no outcome", known)
				}
			}
		}
	}
}

func older(t *testing.T, a, b versioning.Tag) bool {
	t.Helper()
	order, err := a.Version.Compare(b.Version)
	if err != nil {
		t.Fatal(err)
	}
	return order < 0
}

func TestOutcomeOf(t *testing.T) {
	var r wire.Record
	for i, e := range []wire.Entry{
		wiretest.Entry(t, "5a", events.Delivered), wiretest.Entry(t, "7a", events.DeadLettered), wiretest.Entry(t, "7b", events.Conflict), wiretest.Entry(t, "8a", wire.Retrying),
	} {
		r.Add(e, wiretest.Place(uint64(i+1)))
	}
	noDigest := versioning.Tag{Version: testkit.Version(t, "7")}
	tests := map[string]struct {
		tag  versioning.Tag
		want events.Outcome // empty: none yet
		by   string
	}{
		"recorded":                      {testkit.Tag(t, "5a"), events.Delivered, ""},
		"the newest with an outcome":    {testkit.Tag(t, "7a"), events.DeadLettered, ""},
		"other content of it":           {testkit.Tag(t, "7b"), events.Conflict, ""},
		"by version alone":              {noDigest, events.Conflict, ""},
		"overtaken before it was seen":  {testkit.Tag(t, "6a"), events.Superseded, "7"},
		"from before all records":       {testkit.Tag(t, "1a"), events.Superseded, "7"},
		"unknown content of an old one": {testkit.Tag(t, "5b"), events.Superseded, "7"},
		"unknown content of the newest": {testkit.Tag(t, "7c"), "", ""},
		"still retried":                 {testkit.Tag(t, "8a"), "", ""},
		"not seen yet":                  {testkit.Tag(t, "9a"), "", ""},
		"no version":                    {versioning.Tag{}, "", ""},
		"of another kind":               {versioning.Tag{Version: testkit.Version(t, "2024-01-01T00:00:00Z")}, "", ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, ok := r.OutcomeOf(tt.tag)
			if ok != (tt.want != "") || got.Outcome != tt.want || got.By.String() != tt.by {
				t.Fatalf("OutcomeOf = %+v, %t", got, ok)
			}
			if ok && (got.Version != tt.tag.Version || got.At.IsZero()) {
				t.Errorf("version %s at %v", got.Version, got.At)
			}
		})
	}
	if _, ok := new(wire.Record).OutcomeOf(testkit.Tag(t, "1a")); ok {
		t.Error("an empty record knows an outcome")
	}
}

func TestOutcomeOfAnotherVersionKindMovesNothing(t *testing.T) {
	five := versioning.Must(versioning.Number(5))
	var r wire.Record
	r.Add(wire.Entry{Key: "k", Settlement: events.Settlement{Version: five, Outcome: events.Delivered}}, wiretest.Place(1))
	r.Add(wire.Entry{Key: "k", Settlement: events.Settlement{Version: versioning.Must(versioning.Number(6)), Outcome: wire.Retrying}}, wiretest.Place(2))
	r.Add(wire.Entry{Key: "k", Settlement: events.Settlement{Version: versioning.Must(versioning.Time(wiretest.Noon())), Outcome: events.DeadLettered}}, wiretest.Place(3))
	if r.Settled.Version != five || r.State != wire.StateRetrying || len(r.Recent) != 2 {
		t.Fatalf("the time moved settled, or ended the retry of version 5: %+v", r)
	}
}

func TestOutcomeOfTheNewestVersionStaysWhileOldOnesAreReplayed(t *testing.T) {
	var r wire.Record
	r.Add(wiretest.Entry(t, "99a", events.DeadLettered), wiretest.Place(1))
	for n := range 3 * wire.RecentMax {
		r.Add(wiretest.Entry(t, strconv.Itoa(n+1)+"a", events.Superseded), wiretest.Place(uint64(n+2)))
		if len(r.Recent) > wire.RecentMax {
			t.Fatalf("%d settlements are remembered", len(r.Recent))
		}
		if s, ok := r.OutcomeOf(testkit.Tag(t, "99a")); !ok || s.Outcome != events.DeadLettered {
			t.Fatalf("after %d others the newest version is %q, %t", n+1, s.Outcome, ok)
		}
	}
	if s, ok := r.Find(testkit.Tag(t, "24a")); !ok || s.Outcome != events.Superseded {
		t.Errorf("the last one is %q, %t", s.Outcome, ok)
	}
}

func TestRecordKnowsTheNewestVersionThatWasParked(t *testing.T) {
	var r wire.Record
	newest := func(want string) {
		t.Helper()
		if got := r.Newest().Version.String(); got != want {
			t.Errorf("the newest is %s, want %s", got, want)
		}
	}
	r.Add(wiretest.Entry(t, "5a", events.Delivered), wiretest.Place(1))
	newest("5")
	r.Add(wiretest.Entry(t, "6a", wire.Parked), wiretest.Place(2)) // an attempt failed
	told := wiretest.Entry(t, "9a", wire.Parked)
	told.Attempts, told.Class, told.NextAttempt, told.Head = 0, "", time.Time{}, true
	r.Add(told, wiretest.Place(3))
	newest("9")
	if r.State != wire.StateParked || r.Pending != testkit.Tag(t, "6a") || r.Attempts != 3 || r.Error == nil {
		t.Errorf("what is told of the head changes what is known of the attempts: %+v", r)
	}
	r.Add(wiretest.Entry(t, "6a", events.DeadLettered), wiretest.Place(4))
	newest("9")
	told.Settlement = wiretest.Entry(t, "8a", wire.Parked).Settlement
	r.Add(told, wiretest.Place(5))
	newest("9")
	data, err := r.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if r, err = wire.DecodeRecord(data); err != nil {
		t.Fatal(err)
	}
	newest("9")
	r.Add(wiretest.Entry(t, "9a", events.Delivered), wiretest.Place(6))
	newest("9")
	if !r.Head.IsZero() {
		t.Errorf("the head is %v after it is settled", r.Head)
	}
}

func TestOutcomeOfAVersionWhoseCallIsInFlight(t *testing.T) {
	var r wire.Record
	e := wiretest.Entry(t, "2a", events.Superseded)
	e.Open = testkit.Version(t, "1")
	r.Add(e, wiretest.Place(1))
	if _, ok := r.OutcomeOf(testkit.Tag(t, "1a")); ok {
		t.Error("version 1 is told to have an outcome")
	}
	if s, ok := r.OutcomeOf(testkit.Tag(t, "2a")); !ok || s.Outcome != events.Superseded {
		t.Errorf("version 2 is %q, %t", s.Outcome, ok)
	}
	data, err := r.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if again, err := wire.DecodeRecord(data); err != nil || again.Open != r.Open {
		t.Errorf("stored, open is %s: %v", again.Open, err)
	}
	r.Add(wiretest.Entry(t, "1a", events.DeadLettered), wiretest.Place(2))
	if s, ok := r.OutcomeOf(testkit.Tag(t, "1a")); !ok || s.Outcome != events.DeadLettered || !r.Open.IsZero() {
		t.Errorf("version 1 is %q, %t, and %s is open", s.Outcome, ok, r.Open)
	}
}

func TestHeadOfAnotherVersionKindBlocksNothing(t *testing.T) {
	another := versioning.Must(versioning.Time(wiretest.Noon()))
	var r wire.Record
	r.Add(wiretest.Entry(t, "5a", events.Delivered), wiretest.Place(1))
	r.Add(wire.Entry{Key: "k", Settlement: events.Settlement{Version: another, Outcome: wire.Parked}, Head: true}, wiretest.Place(2))
	r.Add(wire.Entry{Key: "k", Settlement: events.Settlement{Version: another, Outcome: events.DeadLettered}}, wiretest.Place(3))
	verdict, err := versioning.Guard(r.Newest(), testkit.Tag(t, "6a"), versioning.Version{})
	if err != nil || verdict != versioning.Newer {
		t.Errorf("the newest is %v: version 6 is %s, %v", r.Newest(), verdict, err)
	}
}

// A broker that was killed brings an update back that ended when its key was reset, and it
// is parked behind others.
func TestHeadFromBeforeAResetIsNone(t *testing.T) {
	var r wire.Record
	r.Add(wire.Entry{Key: "k", Settlement: events.Settlement{Outcome: wire.Reset}, Void: &wire.Void{Updates: wire.Mark{Sequence: 10}, At: wiretest.Place(1).Incarnation.Began().Add(time.Hour)}}, wiretest.Place(1))
	r.Add(wiretest.Entry(t, "1a", events.Delivered), wiretest.Place(2))
	told := wiretest.Entry(t, "9a", wire.Parked)
	told.Head, told.Sequence = true, 10
	r.Add(told, wiretest.Place(3))
	if got := r.Newest(); got != testkit.Tag(t, "1a") {
		t.Errorf("the newest is %v", got)
	}
	told.Sequence = 11
	r.Add(told, wiretest.Place(4))
	if got := r.Newest(); got != testkit.Tag(t, "9a") {
		t.Errorf("the newest is %v", got)
	}
}
