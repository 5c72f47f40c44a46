package connectors_test

import (
	"context"
	"testing"
	"time"

	"github.com/hms-utl/extsync/pkg/connectors"
)

func TestBeginBy(t *testing.T) {
	early, late := time.Now().Add(time.Hour), time.Now().Add(2*time.Hour)
	if by := connectors.BeginBy(t.Context()); !by.IsZero() {
		t.Errorf("without a bound: %s", by)
	}
	until := early
	lease := connectors.WithBeginBy(t.Context(), func() time.Time { return until })
	if by := connectors.BeginBy(lease); !by.Equal(early) {
		t.Errorf("with a lease: %s", by)
	}
	both, cancel := context.WithDeadline(lease, late)
	defer cancel()
	if by := connectors.BeginBy(both); !by.Equal(early) {
		t.Errorf("the lease ends first: %s", by)
	}
	until = late.Add(time.Hour) // it was renewed
	if by := connectors.BeginBy(both); !by.Equal(late) {
		t.Errorf("the call ends first: %s", by)
	}
}

func TestPartitionOf(t *testing.T) {
	if n, ok := connectors.PartitionOf(t.Context()); ok {
		t.Errorf("without an owner: %d", n)
	}
	if n, ok := connectors.PartitionOf(connectors.WithPartition(t.Context(), 3)); !ok || n != 3 {
		t.Errorf("with an owner: %d, %t", n, ok)
	}
}
