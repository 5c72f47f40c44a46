package integration

import (
	"errors"
	"fmt"
	"testing"

	"github.com/hms-utl/extsync/internal/faults"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// In a cluster a full stream refuses even that a version takes the place of an
// older one. New keys are refused before that, so the keys that are there can
// always converge (guarantee 4).
func TestFullLatestStreamInAClusterRefusesNewKeysOnly(t *testing.T) {
	t.Parallel()
	crew := faults.NewCrew(t)
	servers := faults.StartCluster(t, crew, natsServer(t), 3)
	r := newRigAt(t, crew, faults.URLs(servers), len(servers))
	tg := faults.NewHTTPTarget(t, faults.HTTPOptions{})
	r.channel("c", channels.Latest, "http", tg.Connector(), func(c *channels.Config) { c.MaxBytes = 1 << 20 })
	payload := fmt.Appendf(nil, `{"pad":"%08192d"}`, 0)
	update := func(key int, version int64) events.Update {
		return events.Update{Channel: "c", Key: fmt.Sprint("k", key), Version: versioning.Must(versioning.Number(version)), Payload: payload}
	}
	keys := 0
	for ; keys < 1000; keys++ {
		_, err := r.pub.Publish(t.Context(), update(keys, 1))
		if err == nil {
			continue
		}
		if !errors.Is(err, events.ErrFull) {
			t.Fatalf("key %d: %v", keys, err)
		}
		break
	}
	if keys < 50 || keys > 110 {
		t.Fatalf("the channel took %d keys of 8 KiB before it said that its 1 MiB is full", keys)
	}
	var accepted []faults.Accepted
	for v := int64(2); v <= 4; v++ {
		for k := range keys {
			accepted = append(accepted, r.accept(update(k, v)))
		}
	}
	r.worker("w0")
	r.settled("c", accepted, settleWithin)
	if held := tg.History().Held; len(held) != keys {
		t.Fatalf("the target holds %d of %d keys", len(held), keys)
	}
	for k := range keys {
		if ack := r.outcome(update(k, 4)); ack.Outcome != events.Delivered {
			t.Fatalf("not delivered: %+v", ack)
		}
	}
}
