package deadletters_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/deadletters"
)

// manyLetters fills the lab with letters of n keys, of which some have another
// code, and returns how many. They are conflicts: so many permanent failures in a
// row would count as the channel's fault.
func (l *lab) manyLetters(n int) (others int) {
	l.t.Helper()
	isOther := func(key string) bool { return key[len(key)-1]%3 == 0 }
	l.tg.answers(func(a connectors.Attempt) connectors.Result {
		code := "some"
		if isOther(a.Key) {
			code = "other"
		}
		return connectors.Failed(connectors.Conflict, code, errors.New("not ours"))
	})
	for i := range n {
		u := update(fmt.Sprintf("k%04d", i), 1)
		if isOther(u.Key) {
			others++
		}
		l.push(u)
	}
	l.eventually("all letters", func() bool {
		count, err := l.store.Count(l.t.Context(), deadletters.Filter{Channel: "cal"})
		testkit.Must(l.t, err)
		return count == n
	})
	return others
}

func TestManyLetters(t *testing.T) {
	const n = 500
	l := newLab(t, channels.Latest)
	l.work("w1")
	others := l.manyLetters(n)

	t.Run("pages", func(t *testing.T) {
		seen := map[string]bool{}
		var cursor, last uint64
		for pages := 0; ; pages++ {
			page, err := l.store.List(t.Context(), deadletters.Filter{Channel: "cal"}, 90, cursor)
			testkit.Must(t, err)
			for _, e := range page.Entries {
				if e.Sequence <= last {
					t.Fatalf("letter %d after %d", e.Sequence, last)
				}
				last = e.Sequence
				seen[e.Key] = true
			}
			if cursor = page.Next; cursor == 0 {
				if pages != (n-1)/90 {
					t.Errorf("%d full pages", pages)
				}
				break
			}
			if len(page.Entries) != 90 {
				t.Fatalf("page of %d", len(page.Entries))
			}
		}
		if len(seen) != n {
			t.Errorf("%d keys", len(seen))
		}
		page, err := l.store.List(t.Context(), deadletters.Filter{}, 0, 0)
		if err != nil || len(page.Entries) != deadletters.DefaultPage || page.Next == 0 {
			t.Errorf("default: %d entries, next %d, %v", len(page.Entries), page.Next, err)
		}
		page, err = l.store.List(t.Context(), deadletters.Filter{}, 1<<30, 0)
		if err != nil || len(page.Entries) != min(n, deadletters.MaxPage) || page.Next != 0 {
			t.Errorf("largest: %d entries, next %d, %v", len(page.Entries), page.Next, err)
		}
	})
	some := deadletters.Filter{Channel: "cal", Code: "some"}
	t.Run("replay by filter", func(t *testing.T) {
		count, err := l.store.Count(t.Context(), some)
		if err != nil || count != n-others {
			t.Fatalf("count %d, %v, want %d", count, err, n-others)
		}
		l.tg.takes()
		var calls, done int
		began := time.Now()
		sum, err := l.store.ReplayAll(t.Context(), some, func(s deadletters.Summary) {
			if s.Done < done {
				t.Errorf("progress went from %d to %d", done, s.Done)
			}
			calls, done = calls+1, s.Done
		})
		t.Logf("%d replayed in %v", sum.Delivered, time.Since(began))
		if err != nil || sum.Delivered != count || sum.Done != count || done != count || calls < 2 {
			t.Fatalf("not all replayed, with progress: %+v after %d calls, last with %d, %v", sum, calls, done, err)
		}
		l.eventually("the letters to go", func() bool {
			left, err := l.store.Count(t.Context(), some)
			testkit.Must(t, err)
			return left == 0
		})
		if left, err := l.store.Count(t.Context(), deadletters.Filter{}); err != nil || left != others {
			t.Errorf("%d letters are left, %v, want %d", left, err, others)
		}
	})
	t.Run("discard by filter", func(t *testing.T) {
		sum, err := l.store.DiscardAll(t.Context(), deadletters.Filter{Channel: "cal", Code: "other"}, nil)
		if err != nil || sum.Discarded != others || sum.Done != others {
			t.Fatalf("%+v is discarded, error %v; want %d", sum, err, others)
		}
		if left, err := l.store.Count(t.Context(), deadletters.Filter{}); err != nil || left != 0 {
			t.Errorf("%d letters are left, %v", left, err)
		}
	})
}
