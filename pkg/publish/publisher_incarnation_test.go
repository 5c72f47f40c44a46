package publish_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/events"
)

// What a publisher remembers of sequences is void in another incarnation.
func TestPublisherRefusesAnotherIncarnation(t *testing.T) {
	p := newPlatform(t)
	pub := p.publisher(t)
	u := of(t, "latest", "k", "1a")
	if _, err := pub.Publish(t.Context(), u); err != nil {
		t.Fatal(err)
	}
	if _, _, err := wire.RenewIncarnation(t.Context(), p.JS, p.names); err != nil {
		t.Fatal(err)
	}
	deadline := time.After(testkit.Patience)
	for version := int64(2); ; version++ {
		_, err := pub.Publish(t.Context(), of(t, "latest", "k", fmt.Sprint(version, "a")))
		if errors.Is(err, events.ErrIncarnation) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		select {
		case <-deadline:
			t.Fatal("it publishes on")
		case <-time.After(50 * time.Millisecond):
		}
	}
	many := func(yield func(events.Update) bool) { yield(of(t, "latest", "other", "1a")) }
	for _, err := range pub.PublishAll(t.Context(), many, 4) {
		if !errors.Is(err, events.ErrIncarnation) {
			t.Errorf("many: %v", err)
		}
	}
	if _, err := p.publisher(t).Publish(t.Context(), of(t, "latest", "k", "1000a")); err != nil {
		t.Errorf("a new publisher: %v", err)
	}
}
