package deadletters_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/deadletters"
)

// groups returns the groups of a filter by their message, and how long that took.
func (l *lab) groups(s *deadletters.Store, f deadletters.Filter) (deadletters.Groups, time.Duration) {
	l.t.Helper()
	cpu := cpuTime(l.t)
	began := time.Now()
	out, err := s.Groups(l.t.Context(), f, time.Minute)
	testkit.Must(l.t, err)
	l.t.Logf("processor time with that of the broker: %v", cpuTime(l.t)-cpu)
	return out, time.Since(began)
}

func TestGroups(t *testing.T) {
	n, tenth := 1000, "k-001"
	if os.Getenv("EXTSYNC_TEST_FULL") != "" {
		n, tenth = 10_000, "k-01"
	}
	l := newLab(t, channels.Latest)
	l.work("w1")
	l.tg.answers(func(a connectors.Attempt) connectors.Result {
		switch last := a.Key[len(a.Key)-1]; {
		case last == '0':
			return connectors.Failed(connectors.Conflict, "409", errors.New("nobody has this"))
		case last < '4':
			return connectors.Failed(connectors.Conflict, "409", fmt.Errorf("entity %s is locked by user %q", a.Key, "u"+a.Key))
		default:
			return connectors.Failed(connectors.Conflict, "410", fmt.Errorf("entity %s is locked by user %q", a.Key, "u"+a.Key))
		}
	})
	began := time.Now()
	for i := range n {
		l.push(update(fmt.Sprintf("k-%05d", i), 1))
	}
	l.eventually("all letters", func() bool {
		count, err := l.store.Count(t.Context(), deadletters.Filter{})
		testkit.Must(t, err)
		return count == n
	})
	t.Logf("%d letters in %v", n, time.Since(began))
	fast, took := l.groups(l.store.Faster(), deadletters.Filter{})
	slow, took2 := l.groups(l.store.Store, deadletters.Filter{Channel: "cal"})
	t.Logf("groups of %d letters: %v for an administrator, %v for a gateway", n, took, took2)
	for _, got := range []deadletters.Groups{fast, slow} {
		if len(got.Groups) != 3 || got.Looked != n || got.Of != n || got.More {
			t.Fatalf("%+v", got)
		}
		for i, want := range []int{n * 6 / 10, n * 3 / 10, n / 10} {
			g, bars := got.Groups[i], 0
			for _, b := range g.Histogram {
				bars += b
			}
			if g.Count != want || bars != want || len(g.Samples) != 3 || g.Channel != "cal" || g.Last.Before(g.First) || g.Histogram[0] == 0 {
				t.Errorf("group %d: %+v, want %d", i, g, want)
			}
			if g.Samples[0].Reason != g.Message || g.Samples[0].Sequence >= g.Samples[1].Sequence || g.Samples[1].Sequence >= g.Samples[2].Sequence {
				t.Errorf("samples of group %d: %+v", i, g.Samples)
			}
		}
	}
	locked := fast.Groups[0]
	if locked.ID != slow.Groups[0].ID || !strings.Contains(locked.Message, "is locked by user") || locked.Code != "410" {
		t.Errorf("%+v", locked)
	}
	count := func(f deadletters.Filter) int {
		n, err := l.store.Faster().Count(t.Context(), f)
		testkit.Must(t, err)
		return n
	}
	for want, f := range map[int]deadletters.Filter{
		locked.Count: {Group: locked.ID},
		n / 10:       {Prefix: tenth},
		3 * n / 100:  {Prefix: tenth, Group: fast.Groups[1].ID},
		0:            {Prefix: "nobody"},
	} {
		if got := count(f); got != want {
			t.Errorf("%+v: %d, want %d", f, got, want)
		}
	}
	for _, bad := range []deadletters.Filter{{Group: "zz"}, {Channel: "cal", Key: "k", Prefix: "k"}, {Prefix: strings.Repeat("k", 2000)}} {
		if _, err := l.store.Groups(t.Context(), bad, time.Second); !errors.Is(err, deadletters.ErrFilter) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
	some, err := l.store.Groups(t.Context(), deadletters.Filter{}, 0)
	if err != nil || !some.More || some.Looked == 0 || some.Looked >= n || some.Of != n {
		t.Errorf("a look that ends soon: %d of %d, more %t, %v", some.Looked, some.Of, some.More, err)
	}
}

func cpuTime(t testing.TB) time.Duration {
	var u syscall.Rusage
	testkit.Must(t, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
