package feed_test

import (
	"fmt"
	"testing"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/delivery/internal/feed"
	"github.com/hms-utl/extsync/pkg/events"
)

func TestPartitionSlotsCoverEverySlotOnceAndHoldTheirKeys(t *testing.T) {
	for partitions := 1; partitions <= events.Slots; partitions++ {
		owner := map[int]int{}
		for p := range partitions {
			for _, slot := range feed.Slots(p, partitions) {
				if other, twice := owner[slot]; twice {
					t.Fatalf("%d partitions: slot %d is in %d and %d", partitions, slot, other, p)
				}
				owner[slot] = p
			}
		}
		if len(owner) != events.Slots {
			t.Fatalf("%d partitions cover %d slots", partitions, len(owner))
		}
		for k := range 200 {
			enc, err := events.EncodeKey(fmt.Sprint("policy/", k))
			testkit.Must(t, err)
			// The rule that administrators and parked updates go by.
			if slot := events.Slot(enc); owner[slot] != slot%partitions {
				t.Fatalf("%d partitions: key %s of slot %d is in partition %d, not %d", partitions, enc, slot, owner[slot], slot%partitions)
			}
		}
	}
}
