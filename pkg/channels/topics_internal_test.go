package channels

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/internal/natsserver/natstest"
	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/events"
)

func withTopic(t *testing.T) (*Registry, TopicEntry) {
	t.Helper()
	b := natstest.Run(t)
	testkit.Must(t, Provision(t.Context(), b.JS, events.DefaultNames(), Storage{}))
	catalog := connectors.NewCatalog(connectors.Kind{Name: "memory", Check: func([]byte) error { return nil }})
	r, err := OpenRegistry(t.Context(), b.JS, events.DefaultNames(), catalog)
	testkit.Must(t, err)
	e, err := r.PutTopic(t.Context(), Topic{Name: "policies"}, 0)
	testkit.Must(t, err)
	return r, e
}

func reader(name, keys string) Config {
	return Config{Name: name, Connector: Connector{Kind: "memory"}, From: &From{Topic: "policies", Keys: keys}}
}

func (r *Registry) hasTopicStream(t *testing.T) bool {
	t.Helper()
	_, err := r.js.Stream(t.Context(), wire.UpdateStream(r.names, events.ToTopic("policies")))
	if err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
		t.Fatal(err)
	}
	return err == nil
}

func (r *Registry) forgetResync(t *testing.T) {
	t.Helper()
	bucket := wire.ProgressBucket(r.names)
	s, err := r.js.Stream(t.Context(), wire.KVStream(bucket))
	testkit.Must(t, err)
	testkit.Must(t, s.Purge(t.Context(), jetstream.WithPurgeSubject(wire.KVSubject(bucket, resyncKey("cal")))))
}

// What a topic holds was deleted before anybody looked whether the topic had been changed
// meanwhile, or whether a channel had come to read it.
func TestTopicIsClaimedBeforeItIsDeleted(t *testing.T) {
	r, e := withTopic(t)
	claimed, err := r.storeTopic(t.Context(), storedTopic{Topic: e.Topic, Deleting: true}, e.Revision) // and its claimant died
	testkit.Must(t, err)
	if err := r.DeleteTopic(t.Context(), "policies", e.Revision); !errors.Is(err, ErrRevision) || !r.hasTopicStream(t) {
		t.Errorf("somebody who has seen another revision: %v", err)
	}
	if _, err := r.PutTopic(t.Context(), Topic{Name: "policies", MaxBytes: 2 << 20}, claimed.Revision); !errors.Is(err, ErrTopicDeleting) {
		t.Errorf("a change: %v", err)
	}
	if _, err := r.Put(t.Context(), reader("cal", ""), 0); !errors.Is(err, ErrTopicDeleting) {
		t.Errorf("a channel that would read it: %v", err)
	}
	testkit.Must(t, r.DeleteTopic(t.Context(), "policies", claimed.Revision))
	if _, err := r.Topic(t.Context(), "policies"); !errors.Is(err, ErrNoTopic) || r.hasTopicStream(t) {
		t.Errorf("it is there still: %v", err)
	}
}

// A channel that was stored while its topic was claimed is removed by who made it.
func TestChannelOfATopicThatGoesIsUndone(t *testing.T) {
	r, e := withTopic(t)
	made, err := r.Put(t.Context(), reader("cal", ""), 0)
	testkit.Must(t, err)
	if err := r.DeleteTopic(t.Context(), "policies", e.Revision); !errors.Is(err, ErrTopicRead) || !r.hasTopicStream(t) {
		t.Errorf("a topic that is read: %v", err)
	}
	_, err = r.storeTopic(t.Context(), storedTopic{Topic: e.Topic, Deleting: true}, e.Revision)
	testkit.Must(t, err)
	if err := r.undoWithoutTopic(t.Context(), made); !errors.Is(err, ErrTopicDeleting) {
		t.Errorf("its topic is being deleted: %v", err)
	}
	if _, err := r.Get(t.Context(), "cal"); !errors.Is(err, ErrNotFound) {
		t.Errorf("the channel is there: %v", err)
	}
}

// Whoever had made a channel, or widened its keys, and died before he had said so, left it
// without what its topic had, and nothing showed it. The same configuration mends it.
func TestFillThatWasNotRecorded(t *testing.T) {
	r, _ := withTopic(t)
	source, _ := wire.UpdateTransform(r.names, events.ToTopic("policies"))
	_, err := r.js.Publish(t.Context(), strings.Replace(source, "*", "a-1", 1), []byte(`{}`))
	testkit.Must(t, err)
	for _, keys := range []string{"a-", "b-"} {
		e, err := r.Get(t.Context(), "cal")
		if err != nil && !errors.Is(err, ErrNotFound) {
			t.Fatal(err)
		}
		e, err = r.Put(t.Context(), reader("cal", keys), e.Revision)
		testkit.Must(t, err)
		r.forgetResync(t) // as if it had not come so far
		if _, err := r.ResyncStatus(t.Context(), "cal"); !errors.Is(err, ErrNoResync) {
			t.Fatalf("keys %s: %v", keys, err)
		}
		if _, err := r.StartResync(t.Context(), "cal", Selection{}); !errors.Is(err, ErrFilling) {
			t.Errorf("keys %s: a resync before the channel is filled: %v", keys, err)
		}
		r.forgetResync(t)
		_, err = r.Put(t.Context(), reader("cal", keys), e.Revision)
		testkit.Must(t, err)
		if s, err := r.ResyncStatus(t.Context(), "cal"); err != nil || !s.Fill || s.ID != e.Fill || s.Prefix != keys || s.State != ResyncRunning {
			t.Errorf("keys %s: %+v, %v", keys, s, err)
		}
	}
}

// Whoever changed a channel and the workers that heard of it record the same filling at once;
// all but one were told that a resync was not finished.
func TestFillThatSeveralRecord(t *testing.T) {
	r, _ := withTopic(t)
	e, err := r.Put(t.Context(), reader("cal", "a-"), 0)
	testkit.Must(t, err)
	for i := range 50 { // one race in twenty meets it
		e.Fill = fmt.Sprint(i)
		var racing sync.WaitGroup
		for range 8 {
			racing.Go(func() {
				if err := r.EnsureFill(t.Context(), e); err != nil {
					t.Error(err)
				}
			})
		}
		racing.Wait()
	}
}

// Two people made the same channel: the second one set back what the first one's worker had
// recorded.
func TestProgressOfANewChannelIsNotOverwritten(t *testing.T) {
	r, _ := withTopic(t)
	e := Entry{Config: reader("cal", "").WithDefaults(), ID: "x", Generation: 1}
	testkit.Must(t, r.beginFill(t.Context(), &e, Created))
	p, revision, err := r.progress.Read(t.Context(), "cal", 1, 0)
	testkit.Must(t, err)
	p.Clean, p.Worker = false, "w1"
	_, err = r.progress.Write(t.Context(), "cal", 1, 0, p, revision)
	testkit.Must(t, err)
	if err := r.beginFill(t.Context(), &e, Created); !errors.Is(err, ErrRevision) {
		t.Errorf("the second one: %v", err)
	}
}
