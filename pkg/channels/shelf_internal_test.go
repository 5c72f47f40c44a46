package channels

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/internal/natsserver/natstest"
	"github.com/hms-utl/extsync/internal/testkit"
)

// TestShelfHasWhatItsBucketHolds: after each refresh, whatever was put, deleted or purged, and
// when the bucket was made anew.
func TestShelfHasWhatItsBucketHolds(t *testing.T) {
	b := natstest.Run(t)
	s := &shelf{js: b.JS, bucket: "things"}
	if err := s.refresh(t.Context()); !errors.Is(err, jetstream.ErrStreamNotFound) {
		t.Fatalf("without a bucket: %v", err)
	}
	const names = 8
	seed := uint64(time.Now().UnixNano()) //nolint:gosec // not negative
	t.Log("seed ", seed)
	random := rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // for a test
	for range 2 {
		kv, err := b.JS.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: s.bucket})
		testkit.Must(t, err)
		for step := range 100 {
			for range random.IntN(4) {
				name := fmt.Sprint("k.", random.IntN(names))
				switch random.IntN(5) {
				case 0:
					testkit.Must(t, kv.Delete(t.Context(), name))
				case 1:
					testkit.Must(t, kv.Purge(t.Context(), name))
				default:
					_, err := kv.PutString(t.Context(), name, fmt.Sprint(step))
					testkit.Must(t, err)
				}
			}
			testkit.Must(t, s.refresh(t.Context()))
			for n := range names {
				name := fmt.Sprint("k.", n)
				want, wantErr := kv.Get(t.Context(), name)
				got, err := s.Get(t.Context(), name)
				if (err == nil) != (wantErr == nil) || err == nil && (string(got.Value()) != string(want.Value()) || got.Revision() != want.Revision() || !got.Created().Equal(want.Created())) {
					t.Fatalf("step %d: %s is %v (%v), want %v (%v)", step, name, got, err, want, wantErr)
				}
			}
		}
		testkit.Must(t, b.JS.DeleteKeyValue(t.Context(), s.bucket))
	}
}

// TestShelfIsReadAnewAfterALoss: another message has the sequence of the last that was read.
func TestShelfIsReadAnewAfterALoss(t *testing.T) {
	b := natstest.Run(t)
	kv, err := b.JS.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: "things"})
	testkit.Must(t, err)
	for _, more := range []int{0, 1} {
		s := &shelf{js: b.JS, bucket: "things"}
		_, err = kv.PutString(t.Context(), "there", "new")
		testkit.Must(t, err)
		testkit.Must(t, s.refresh(t.Context()))
		s.at = s.at.Add(-time.Second) // as if it was read of a message that the broker has lost
		s.kept["lost"] = s.kept["there"]
		for n := range more {
			_, err = kv.PutString(t.Context(), fmt.Sprint("later", n), "x")
			testkit.Must(t, err)
		}
		testkit.Must(t, s.refresh(t.Context()))
		if _, err := s.Get(t.Context(), "lost"); !errors.Is(err, jetstream.ErrKeyNotFound) {
			t.Errorf("with %d stored since: what the broker has lost is still there: %v", more, err)
		}
		if _, err := s.Get(t.Context(), "there"); err != nil {
			t.Errorf("with %d stored since: %v", more, err)
		}
	}
}
