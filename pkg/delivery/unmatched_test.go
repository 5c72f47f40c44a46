package delivery_test

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/events"
)

// calls notes what a target is told, as "key op version".
type calls struct {
	mu   sync.Mutex
	told []string
}

func (c *calls) answer(a connectors.Attempt) connectors.Result {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.told = append(c.told, fmt.Sprintf("%s %s %s", a.Key, a.Op, a.Version))
	if a.Op == events.Delete && len(a.Payload) > 0 {
		return connectors.Failed(connectors.Permanent, "payload", fmt.Errorf("a delete with a payload: %s", a.Payload))
	}
	return connectors.Done()
}

func (c *calls) take() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	told := c.told
	c.told = nil
	return told
}

func (c *calls) want(t *testing.T, when string, want ...string) {
	t.Helper()
	got := c.take()
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("%s the target was told %q, want %q", when, got, want)
	}
}

// A key that passes the filter no longer is deleted at the target that has it, and only
// there; it is written again when it passes. Its outcome and the ledger say so.
func TestUnmatchedKeyIsRemoved(t *testing.T) {
	t.Parallel()
	for _, mode := range modes {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			cfg := channel("erp", mode)
			cfg.Filter, cfg.OnUnmatch = `.version % 3 == 1`, channels.DeleteUnmatched
			l := newLab(t, cfg)
			c := &calls{}
			l.tg.answerWith(c.answer)
			l.work("w1")
			codes := func(key string, from int64, want ...string) {
				t.Helper()
				for i, code := range want {
					if ack := l.request(update("erp", key, from+int64(i))); ack.Outcome != events.Delivered || ack.Code != code {
						t.Errorf("%s, version %d: %+v, want code %q", key, from+int64(i), ack, code)
					}
				}
			}
			codes("k", 1, "", events.CodeRemoved, events.CodeFiltered, "")
			c.want(t, "of a key that passes, and then does not,", "k delete 2", "k upsert 1", "k upsert 4")
			codes("never", 2, events.CodeFiltered, events.CodeFiltered)
			c.want(t, "of a key that never passed")
			codes("k", 5, events.CodeRemoved)
			c.take()
			l.eventually("the ledger to know that the key is removed", func() bool {
				rec, err := l.ledger.Get(t.Context(), "erp", "k")
				return err == nil && rec.Applied.Version == testkit.Number(5) && rec.Applied.Op == events.Delete
			})
		})
	}
}

// An attempt whose answer is not known may have reached the target.
func TestUnmatchedKeyIsRemovedAfterALostAnswer(t *testing.T) {
	t.Parallel()
	cfg := channel("erp", channels.Latest)
	cfg.Filter, cfg.OnUnmatch = `.version == 1`, channels.DeleteUnmatched
	l := newLab(t, cfg)
	c := &calls{}
	tried := make(chan struct{}, 100)
	l.tg.answerWith(func(a connectors.Attempt) connectors.Result {
		if res := c.answer(a); a.Op == events.Delete {
			return res
		}
		tried <- struct{}{}
		return connectors.Failed(connectors.Transient, "timeout", errors.New("no answer"))
	})
	l.work("w1")
	l.push(update("erp", "k", 1))
	<-tried
	if ack := l.request(update("erp", "k", 2)); ack.Outcome != events.Delivered || ack.Code != events.CodeRemoved {
		t.Errorf("ack: %+v", ack)
	}
	if got := c.take(); got[len(got)-1] != "k delete 2" {
		t.Errorf("the target was told %q", got)
	}
}

// A new channel of a topic is not told to delete what it never had; one whose filter becomes
// narrower has what passes no longer deleted by a resync.
func TestUnmatchedKeysOfATopic(t *testing.T) {
	t.Parallel()
	l := newTopicLab(t)
	l.work("w1")
	const keys = 20
	for i := range keys {
		l.push(toTopic(fmt.Sprint("k", i), int64(i%2+1)))
	}
	c := &calls{}
	l.targets["a"].answerWith(c.answer)
	only := func(filter string) func(*channels.Config) {
		return func(cfg *channels.Config) { cfg.Filter, cfg.OnUnmatch = filter, channels.DeleteUnmatched }
	}
	l.reads("a", only(`.version == 1`))
	for i := range keys {
		want := ""
		if i%2 == 1 {
			want = events.CodeFiltered
		}
		if ack := l.outcome("a", fmt.Sprint("k", i), int64(i%2+1)); ack.Code != want {
			t.Errorf("k%d: %+v, want code %q", i, ack, want)
		}
	}
	if got := c.take(); len(got) != keys/2 || slices.ContainsFunc(got, func(s string) bool { return s[len(s)-1] != '1' }) {
		t.Errorf("the target was told %q, want %d upserts", got, keys/2)
	}
	l.eventually("the channel to be filled", func() bool {
		s, err := l.registry.ResyncStatus(t.Context(), "a")
		return err == nil && s.State == channels.ResyncDone
	})
	l.reads("a", only(`.version == 1 and $key != "k0"`))
	resync, err := l.registry.StartResync(t.Context(), "a", channels.Selection{})
	testkit.Must(t, err)
	l.eventually("the resync to end", func() bool {
		s, err := l.registry.ResyncStatus(t.Context(), "a")
		return err == nil && s.ID == resync.ID && s.State == channels.ResyncDone
	})
	l.eventually("the ledger to know that k0 is removed", func() bool {
		rec, err := l.ledger.Get(t.Context(), "a", "k0")
		return err == nil && rec.Applied.Op == events.Delete
	})
	if got := c.take(); !slices.Contains(got, "k0 delete 1") || slices.Contains(got, "k2 delete 1") {
		t.Errorf("a resync after the filter became narrower told the target %q", got)
	}
}
