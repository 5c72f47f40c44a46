package delivery_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/delivery"
	"github.com/hms-utl/extsync/pkg/events"
)

// backlog is what of a channel has no outcome yet. A survey that remembers what it was asked
// before counts the same: it is asked between two counts that are equal.
func (l *lab) backlog(name string) channels.Backlog {
	l.t.Helper()
	count := func() channels.Backlog {
		e, err := l.registry.Get(l.t.Context(), name)
		testkit.Must(l.t, err)
		b, err := l.registry.Backlog(l.t.Context(), e)
		testkit.Must(l.t, err)
		return b
	}
	l.surveying.Lock()
	defer l.surveying.Unlock()
	if l.survey == nil || !l.survey.Of(l.registry) {
		l.survey = l.registry.Survey()
	}
	e, err := l.registry.Get(l.t.Context(), name)
	testkit.Must(l.t, err)
	from, err := l.registry.Unsettled(l.t.Context(), e)
	testkit.Must(l.t, err)
	before := count()
	testkit.Must(l.t, l.survey.Refresh(l.t.Context()))
	entries, err := l.survey.Channels()
	testkit.Must(l.t, err)
	at := slices.IndexFunc(entries, func(e channels.Entry) bool { return e.Config.Name == name })
	if at < 0 {
		l.t.Fatalf("the survey knows no channel %s", name)
	}
	surveyed, err := l.survey.Backlog(l.t.Context(), entries[at])
	testkit.Must(l.t, err)
	after := count()
	if same := text(l.t, after); text(l.t, before) == same && text(l.t, surveyed) != same {
		l.t.Errorf("a survey counts\n%s\nand there is\n%s", text(l.t, surveyed), same)
	}
	l.listed(&entries[at], from, &after)
	return after
}

// listed fails the test if updates without an outcome lie before where a list began to look for
// them, a moment ago.
func (l *lab) listed(e *channels.Entry, from uint64, b *channels.Backlog) {
	l.t.Helper()
	if from == 1 || b.AtMost || slices.ContainsFunc(b.Partitions, func(p channels.PartitionBacklog) bool { return p.Parked > 0 }) {
		return // all of it is listed, or the number says less than that
	}
	rest, err := wire.CountFrom(l.t.Context(), l.JS, wire.UpdateStream(events.DefaultNames(), e.Config.Route()), ">", from)
	testkit.Must(l.t, err)
	if rest.Messages < b.Undelivered {
		l.t.Errorf("%d updates have no outcome, and a list that begins at %d finds %d", b.Undelivered, from, rest.Messages)
	}
}

func text(t testing.TB, b channels.Backlog) string {
	t.Helper()
	data, err := json.Marshal(b)
	testkit.Must(t, err)
	return string(data)
}

func (l *lab) undelivered(name string) uint64 { return l.backlog(name).Undelivered }

// TestUndeliveredOfAChannelThatRests: what was delivered is not counted when a channel is
// paused or deleted, or has no worker: all of a stream of 80,000 was, for one update.
func TestUndeliveredOfAChannelThatRests(t *testing.T) {
	t.Parallel()
	for _, mode := range modes {
		for _, partitions := range []int{1, 4} {
			t.Run(fmt.Sprint(mode, partitions), func(t *testing.T) {
				c := channel("cal", mode)
				c.Partitions = partitions
				l := newLab(t, c)
				w := l.work("a")
				for k := range 40 {
					l.push(update("cal", fmt.Sprint("k", k), 1))
				}
				l.eventually("all to be delivered", func() bool { return l.undelivered("cal") == 0 })
				e, err := l.registry.Pause(t.Context(), "cal")
				testkit.Must(t, err)
				rests := func(p channels.PartitionBacklog) bool { return p.Progress.Clean && !p.Consumer }
				l.eventually("the partitions to be handed over", func() bool {
					b := l.backlog("cal")
					for _, p := range b.Partitions {
						if p.Progress.Worker != "" && !rests(p) {
							return false
						}
					}
					return true
				})
				began := time.Now()
				l.push(update("cal", "k7", 2))
				expect := func(what string) {
					t.Helper()
					b := l.backlog("cal")
					if b.Undelivered != 1 || b.Oldest.Before(began.Add(-time.Second)) || b.AtMost != (mode == channels.Latest) {
						t.Errorf("%s: %s undelivered, oldest %s", what, &b, b.Oldest)
					}
				}
				expect("paused")
				w.shutdown(t)
				expect("paused, without a worker")
				_, err = l.registry.Resume(t.Context(), "cal")
				testkit.Must(t, err)
				expect("without a worker")
				e, err = l.registry.Get(t.Context(), e.Config.Name)
				testkit.Must(t, err)
				_, err = l.registry.Delete(t.Context(), "cal", e.Revision)
				testkit.Must(t, err)
				expect("deleted")
			})
		}
	}
}

// TestOldestOfParkedKeys: a parked update is undelivered, and the oldest one, since it
// was published.
func TestOldestOfParkedKeys(t *testing.T) {
	for _, mode := range modes {
		t.Run(string(mode), func(t *testing.T) {
			cfg := channel("cal", mode)
			cfg.Retry.MaxAttempts = 1000
			l := newLab(t, cfg)
			l.tg.answerWith(func(a connectors.Attempt) connectors.Result {
				if a.Key == "bad" {
					return connectors.Failed(connectors.Transient, "500", errors.New("not this one"))
				}
				return connectors.Done()
			})
			began := time.Now()
			l.work("a", func(o *delivery.Options) { o.ParkAfter = time.Millisecond })
			l.push(update("cal", "bad", 1))
			l.push(update("cal", "good", 1))
			l.eventually("all else to be delivered", func() bool {
				b := l.backlog("cal")
				return b.Undelivered == 1 && b.Partitions[0].Parked == 1
			})
			published := time.Now()
			l.eventually("the oldest to be one that is parked", func() bool {
				b := l.backlog("cal")
				return !b.Oldest.Before(began.Add(-time.Second)) && b.Oldest.Before(published)
			})
		})
	}
}
