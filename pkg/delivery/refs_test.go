package delivery_test

import (
	"errors"
	"maps"
	"testing"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/events"
)

// What the target gave goes with the next call: of the same owner, of the next one, and
// after the key was reset. It is forgotten with the object.
func TestWhatTheTargetGaveGoesWithTheNextCall(t *testing.T) {
	for _, mode := range modes {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			l := newLab(t, channel("crm", mode))
			got := make(chan connectors.Attempt, 1)
			answer := connectors.Done()
			l.tg.answerWith(func(a connectors.Attempt) connectors.Result {
				if a.Key != "k" {
					return connectors.Done()
				}
				got <- a
				return answer
			})
			next := func(version int64, op events.Op, refs connectors.Refs, unsure bool) {
				t.Helper()
				u := update("crm", "k", version)
				if u.Op = op; op == events.Delete {
					u.Payload, u.ContentType = nil, ""
				}
				l.push(u)
				a := <-got
				if !maps.Equal(a.Refs, refs) || a.Unsure != unsure {
					t.Errorf("%s of version %d has %v, unsure %t; want %v, %t", op, version, a.Refs, a.Unsure, refs, unsure)
				}
				l.outcome("crm", "k", version)
			}
			a := l.work("a")
			l.request(update("crm", "other", 1)) // what comes from now on came to a worker that was there
			answer.Remember = connectors.Refs{"id": "7", "etag": "x"}
			next(1, events.Upsert, nil, false)
			answer.Remember = connectors.Refs{"etag": "y"}
			next(2, events.Upsert, connectors.Refs{"id": "7", "etag": "x"}, false)
			a.shutdown(t)
			held := connectors.Refs{"id": "7", "etag": "y"}
			l.push(update("crm", "k", 3)) // while nobody is there
			answer.Remember = nil
			l.work("b")
			if a := <-got; !maps.Equal(a.Refs, held) || !a.Unsure {
				t.Errorf("after a takeover: %v, unsure %t", a.Refs, a.Unsure)
			}
			l.outcome("crm", "k", 3)
			testkit.Must(t, l.registry.ResetKey(t.Context(), "crm", "k"))
			next(1, events.Upsert, held, true)
			testkit.Must(t, l.registry.SetRefs(t.Context(), "crm", "k", connectors.Refs{"id": "8"}))
			next(2, events.Upsert, connectors.Refs{"id": "8"}, false)
			next(3, events.Delete, connectors.Refs{"id": "8"}, false)
			next(4, events.Upsert, nil, false)
		})
	}
}

// Of an update that waits, the next attempt has what was set meanwhile.
func TestRefsAreSetWhileAnUpdateFails(t *testing.T) {
	t.Parallel()
	l := newLab(t, channel("crm", channels.Latest))
	l.tg.answerWith(func(a connectors.Attempt) connectors.Result {
		if a.Refs["id"] == "" {
			return connectors.Failed(connectors.Transient, "404", errors.New("no such object"))
		}
		return connectors.Done()
	})
	if err := l.registry.SetRefs(t.Context(), "crm", "k", connectors.Refs{"id": "7"}); !errors.Is(err, channels.ErrNoOwner) {
		t.Errorf("without a worker: %v", err)
	}
	l.work("a")
	l.push(update("crm", "k", 1))
	l.eventually("it to fail", func() bool { return len(l.tg.attempts()) > 0 })
	l.eventually("what is remembered to be set", func() bool {
		err := l.registry.SetRefs(t.Context(), "crm", "k", connectors.Refs{"id": "7"})
		if err != nil && !errors.Is(err, channels.ErrRefs) { // an attempt is under way
			t.Fatal(err)
		}
		return err == nil
	})
	if ack := l.outcome("crm", "k", 1); ack.Outcome != events.Delivered {
		t.Errorf("%+v", ack)
	}
	if err := l.registry.SetRefs(t.Context(), "crm", "k", connectors.Refs{"": "7"}); !errors.Is(err, events.ErrRefs) {
		t.Errorf("a value without a name: %v", err)
	}
}
