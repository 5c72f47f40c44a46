package wire_test

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/internal/natsserver/natstest"
	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/events"
)

// TestPartitionIsWhatTheServerComputes: the server stores an update where its own hash
// says. Of each number of partitions exactly one has it, and that is the one that Partition
// says: there its consumer finds it, and nowhere else.
func TestPartitionIsWhatTheServerComputes(t *testing.T) {
	b := natstest.Run(t)
	n := events.DefaultNames()
	source, destination := wire.UpdateTransform(n, events.ToChannel("c"))
	stream, err := b.JS.CreateStream(t.Context(), jetstream.StreamConfig{
		Name:             wire.UpdateStream(n, events.ToChannel("c")),
		Subjects:         []string{source},
		SubjectTransform: &jetstream.SubjectTransformConfig{Source: source, Destination: destination},
		Storage:          jetstream.MemoryStorage,
	})
	testkit.Must(t, err)
	r := testkit.Seeded(t)
	stored := map[string]string{} // the encoded keys, by where they are expected
	for i := range 1000 {
		key := randomKey(r)
		if i < 64 {
			key = "key-" + strconv.Itoa(i)
		}
		enc := testkit.EncodeKey(t, key)
		if _, err := b.JS.Publish(t.Context(), n.Update(events.ToChannel("c"), enc), nil); err != nil {
			t.Fatalf("key %q: %v", key, err)
		}
		stored[wire.StoredUpdate(n, events.ToChannel("c"), enc)] = enc
	}
	for _, partitions := range wire.PartitionCounts() {
		found := map[string]int{} // the partition of each subject
		for p := range partitions {
			info, err := stream.Info(t.Context(), jetstream.WithSubjectFilter(wire.PartitionUpdates(n, events.ToChannel("c"), p, partitions)))
			testkit.Must(t, err)
			if len(info.State.Subjects) == 0 {
				t.Errorf("partition %d of %d has no key", p, partitions)
			}
			for subject := range info.State.Subjects {
				enc, ok := stored[subject]
				if !ok {
					t.Fatalf("%s is stored, and no key is expected there", subject)
				}
				if want := wire.Partition(enc, partitions); want != p {
					t.Errorf("%s is in partition %d of %d, and Partition says %d", subject, p, partitions, want)
				}
				if other, twice := found[subject]; twice {
					t.Errorf("%s is in the partitions %d and %d of %d", subject, other, p, partitions)
				}
				found[subject] = p
			}
		}
		if len(found) != len(stored) {
			t.Errorf("%d partitions have %d of %d keys", partitions, len(found), len(stored))
		}
	}
}

func TestFiltersOfPartitions(t *testing.T) {
	n := events.DefaultNames()
	for _, c := range []struct {
		partition, partitions int
		want                  string
	}{
		{0, 1, "sync.upd.erp_db.*.*.*"}, {3, 4, "sync.upd.erp_db.3.*.*"}, {6, 16, "sync.upd.erp_db.2.6.*"},
	} {
		if got := wire.PartitionUpdates(n, events.ToChannel("erp_db"), c.partition, c.partitions); got != c.want {
			t.Errorf("partition %d of %d: updates %s, want %s", c.partition, c.partitions, got, c.want)
		}
		if got, want := wire.PartitionParked(n, "erp_db", c.partition, c.partitions), strings.Replace(c.want, "upd", "parked", 1); got != want {
			t.Errorf("partition %d of %d: parked %s, want %s", c.partition, c.partitions, got, want)
		}
	}
}

func TestOnlySomeNumbersOfPartitionsAreAllowed(t *testing.T) {
	for n := -1; n <= 65; n++ {
		err := wire.CheckPartitions(n)
		if allowed := slices.Contains([]int{1, 4, 16}, n); allowed != (err == nil) {
			t.Errorf("%d: %v", n, err)
		}
		if want := fmt.Sprint(n, " is none of 1, 4 and 16"); err != nil && err.Error() != want {
			t.Errorf("%d: %q, want %q", n, err, want)
		}
	}
}
