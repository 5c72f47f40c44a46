package relay_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hms-utl/extsync/internal/operate"
	"github.com/hms-utl/extsync/internal/relay"
	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/publish"
)

// compare compares, and returns what was found as lines, sorted.
func (l *stateLab) compare(c *operate.Client, source *relay.Source, repair bool) (found []string, sum operate.Comparison) {
	l.t.Helper()
	o := operate.CompareOptions{Source: source, Overlap: relay.Overlap{Versions: 10}, Repair: repair, Progress: func(operate.Comparison) {}}
	o.Found = func(d operate.Disagreeing) error {
		line := fmt.Sprintf("%s %s %s %s", d.Key, d.Finding, d.Platform, d.Broker)
		if d.Repaired {
			line += " repaired"
		}
		found = append(found, line)
		return nil
	}
	sum, err := c.Compare(l.t.Context(), o)
	testkit.Must(l.t, err)
	slices.Sort(found)
	return found, sum
}

// publish publishes updates, past the platform.
func (l *stateLab) publish(updates ...events.Update) {
	l.t.Helper()
	p, err := publish.New(l.t.Context(), l.JS, l.names)
	testkit.Must(l.t, err)
	for _, u := range updates {
		_, err := p.Publish(l.t.Context(), u)
		testkit.Must(l.t, err)
	}
}

func (l *stateLab) expect(what string, got, want []string) {
	l.t.Helper()
	if !slices.Equal(got, want) {
		l.t.Errorf("%s: found %q, want %q", what, got, want)
	}
}

// A comparison finds each way in which platform and broker can disagree, of channels of both
// modes and of topics, and a repair mends what it may.
func TestCompare(t *testing.T) {
	t.Parallel()
	inEachState(t, func(t *testing.T, l *stateLab) {
		for i, key := range []string{"agrees", "misses", "lags", "leads", "differs"} {
			l.set(key, int64(10+i), body(int64(10+i)))
		}
		l.exec("INSERT INTO policies (id, change_no, body) VALUES ('bad', 15, '{')")
		c := l.client()
		for _, target := range []events.Route{latest(), every(), policies()} {
			other := of(target, "differs", 14)
			other.Payload = []byte(`{"other": true}`)
			deleted := of(target, "deleted", 8)
			deleted.Op, deleted.Payload = events.Delete, nil
			l.publish(of(target, "agrees", 10), of(target, "lags", 11), of(target, "leads", 99), other,
				of(target, "gone", 7), of(target, "deleted", 7), deleted, of(target, strings.Repeat("ä", 100)+"long and gone", 7))
			for range 2 { // with nothing repaired it is as it was
				found, sum := l.compare(c, l.source(target), false)
				long := strings.Repeat("ä", 100) + "long and gone gone  7"
				l.expect(target.String(), found, []string{
					"bad bad 15 ", "differs differs 14 14", "gone gone  7", "lags behind 12 11", "leads ahead 13 99", "misses missing 11 ", long,
				})
				if want := (operate.Comparison{Rows: 6, Agree: 1, Missing: 1, Behind: 1, Ahead: 1, Differs: 1, Gone: 2, Bad: 1}); sum != want || sum.Open() != 7 {
					t.Errorf("%s: %+v", target, sum)
				}
			}
			found, sum := l.compare(c, l.source(target), true)
			if !slices.Contains(found, "lags behind 12 11 repaired") || !slices.Contains(found, "misses missing 11  repaired") || sum.Repaired != 2 || sum.Open() != 5 {
				t.Errorf("%s: %q, %+v", target, found, sum)
			}
			found, sum = l.compare(c, l.source(target), false)
			if len(found) != 5 || sum.Agree != 3 || sum.Open() != 5 {
				t.Errorf("%s: %q, %+v", target, found, sum)
			}
		}
	})
}

// What was delivered has left the stream of a channel of mode every, and counts all the same.
func TestCompareKnowsWhatWasDelivered(t *testing.T) {
	t.Parallel()
	inEachState(t, func(t *testing.T, l *stateLab) {
		c := l.client()
		registry, err := c.Registry(t.Context())
		testkit.Must(t, err)
		entry, err := registry.Get(t.Context(), "every")
		testkit.Must(t, err)
		for _, u := range []events.Update{of(every(), "agrees", 1), of(every(), "leads", 3), of(every(), "gone", 4), {Channel: "every", Key: "deleted", Version: testkit.Number(5), Op: events.Delete}} {
			tag := u.Tag()
			rec := wire.Record{Format: wire.Format, Key: u.Key, ChannelID: entry.ID, Applied: wire.Applied{Tag: tag, Op: u.WithDefaults().Op, At: time.Now()}, Settled: tag, State: wire.StateSettled}
			data, err := rec.Encode()
			testkit.Must(t, err)
			_, err = l.JS.Publish(t.Context(), wire.LedgerSubject(l.names, "every", u.Key), data)
			testkit.Must(t, err)
		}
		l.set("agrees", 1, body(1))
		l.set("leads", 2, body(2))
		found, sum := l.compare(c, l.source(every()), true)
		l.expect("of the ledger", found, []string{"gone gone  4", "leads ahead 2 3"})
		if sum.Agree != 1 {
			t.Errorf("%+v", sum)
		}
	})
}

// A broker that comes back older than it was is found to lack what it lost, and gets it by a
// repair; a platform that comes back older is found to be behind, and nothing goes back.
func TestCompareAfterARestoreOfEither(t *testing.T) {
	t.Parallel()
	inEachState(t, func(t *testing.T, l *stateLab) {
		all := func() *relay.Source { return l.source(latest()) }
		l.set("a", 1, body(1))
		l.compare(l.client(), all(), true)
		putBack := l.KeepFiles(t, wire.UpdateStream(l.names, latest()))
		l.set("a", 2, body(2))
		l.set("b", 3, body(3))
		found, _ := l.compare(l.client(), all(), true)
		l.expect("at first", found, []string{"a behind 2 1 repaired", "b missing 3  repaired"})
		putBack()
		found, _ = l.compare(l.client(), all(), false)
		l.expect("after the broker's restore", found, []string{"a behind 2 1", "b missing 3 "})
		l.compare(l.client(), all(), true)
		found, sum := l.compare(l.client(), all(), false)
		l.expect("after the repair", found, nil)
		if sum.Agree != 2 || sum.Open() != 0 {
			t.Errorf("%+v", sum)
		}

		l.set("a", 1, body(1))
		l.exec("DELETE FROM policies WHERE id = 'b'")
		found, _ = l.compare(l.client(), all(), true)
		l.expect("after the platform's restore", found, []string{"a ahead 1 2", "b gone  3"})
		if got := l.versions(latest()); got != "2 3" && got != "3 2" {
			t.Errorf("versions at the broker: %s", got)
		}
	})
}

// A row that changes while it is compared is no disagreement: what seems to be one is looked at
// again at the end, on both sides.
func TestCompareWhileRowsChange(t *testing.T) {
	t.Parallel()
	inEachState(t, func(t *testing.T, l *stateLab) {
		l.set("a", 1, body(1))
		l.set("b", 2, body(2))
		l.publish(of(latest(), "a", 1), of(latest(), "c", 4)) // c is in the table in a moment, and b at the broker
		looked := false
		o := operate.CompareOptions{Source: l.source(latest()), Overlap: relay.Overlap{Versions: 10}, Found: func(d operate.Disagreeing) error {
			t.Errorf("found %+v", d)
			return nil
		}}
		o.Progress = func(s operate.Comparison) {
			if looked || s.Rows < 2 {
				return
			}
			looked = true
			l.set("c", 4, body(4))
			l.publish(of(latest(), "b", 2))
		}
		sum, err := l.client().Compare(t.Context(), o)
		testkit.Must(t, err)
		if !looked || sum.Open() != 0 {
			t.Errorf("%+v", sum)
		}
	})
}

// Where rows name their targets, each is compared with its own; one that there is not makes
// its rows bad.
func TestCompareOfSeveralTargets(t *testing.T) {
	t.Parallel()
	inEachState(t, func(t *testing.T, l *stateLab) {
		l.exec("INSERT INTO policies (id, change_no, body, target) VALUES ('a', 1, '" + body(1) + "', 'latest'), ('a', 2, '" + body(2) + "', 'topics/policies'), ('b', 3, '{}', 'a-typo')")
		l.publish(of(latest(), "a", 1), of(policies(), "x", 1))
		source := l.source(events.Route{}, func(s *relay.Source) { s.Query = l.parse(l.rowsOf("change_no", ", target")) })
		found, _ := l.compare(l.client(), source, true)
		l.expect("by rows", found, []string{"a missing 2  repaired", "b bad 3 ", "x gone  1"})
		source.Target = "another-typo"
		_, err := l.client().Compare(t.Context(), operate.CompareOptions{Source: source})
		if err == nil {
			t.Error("a target that there is not is no error")
		}
	})
}

// A row without a key ended the comparison, and one with an operation that there is none of
// was to be repaired.
func TestCompareGoesOnAfterRowsThatAreNoUpdates(t *testing.T) {
	t.Parallel()
	inEachState(t, func(t *testing.T, l *stateLab) {
		l.set("", 10, body(10))
		l.set("good", 11, body(11))
		source := l.source(latest(), func(s *relay.Source) { s.Query = l.parse(l.rowsOf("change_no", ", 'rubbish' AS op")) })
		found, sum := l.compare(l.client(), source, true)
		l.expect("with a bad operation", found, []string{" bad 10 ", "good bad 11 "})
		if want := (operate.Comparison{Rows: 2, Bad: 2}); sum != want {
			t.Errorf("%+v, want %+v", sum, want)
		}
		found, _ = l.compare(l.client(), l.source(latest()), true)
		l.expect("without a key", found, []string{" bad 10 ", "good missing 11  repaired"})
	})
}
