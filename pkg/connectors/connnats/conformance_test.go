package connnats_test

import (
	"bytes"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connectortest"
	"github.com/hms-utl/extsync/pkg/connectors/connnats"
	"github.com/hms-utl/extsync/pkg/events"
)

// own are goroutines of the embedded server.
func own() []string {
	const server = "github.com/nats-io/nats-server/v2/server."
	return []string{server + "(*client).readLoop", server + "(*client).writeLoop", server + "(*Server).AcceptLoop", server + "(*stream).processDirectGetLastBySubjectRequest"}
}

func TestConformance(t *testing.T) {
	for _, mode := range modes() {
		// One after the other: each case looks for goroutines that are left over.
		t.Run(mode, func(t *testing.T) { connectortest.Run(t, newTarget(t, mode).conformance()) })
	}
}

func (d *target) conformance() connectortest.Target {
	heal := func(*testing.T) { d.proxy.Heal() }
	return connectortest.Target{
		Open: func(t *testing.T) *connectors.Opened {
			c, err := connectors.Open(t.Context(), connnats.Kind(), connectortest.Env(nil), d.lines())
			testkit.Must(t, err)
			return c
		},
		Read:    func(t *testing.T, keys ...string) map[string]connectors.Held { return d.held(t, keys...) },
		Guarded: true, KeepsDigest: true, Tombstones: true, Times: true,
		Cut:     func(*testing.T) { d.proxy.Cut() },
		Restore: heal,
		LoseAnswer: func(t *testing.T) func() {
			d.proxy.LoseAnswers(func(answer []byte) bool { // of a write, not of what is read before it
				return bytes.Contains(answer, []byte(`"seq":`)) && !bytes.Contains(answer, []byte(`"error":`)) && !bytes.Contains(answer, []byte(`"type":`))
			})
			return func() { heal(t) }
		},
		Hang: func(t *testing.T, _ string) func() {
			d.proxy.Freeze()
			return func() { heal(t) }
		},
		BadUpdate:     func(u *events.Update) { u.Payload = make([]byte, 2<<20) },
		Faults:        d.faults(),
		OwnGoroutines: own(),
	}
}

// faults are what can go wrong with a bucket or stream.
func (d *target) faults() []connectortest.Fault {
	change := func(t *testing.T, set func(*jetstream.StreamConfig)) (back func()) {
		t.Helper()
		stream, err := d.js.Stream(t.Context(), d.stream)
		testkit.Must(t, err)
		before := stream.CachedInfo().Config
		after := before
		set(&after)
		_, err = d.js.UpdateStream(t.Context(), after)
		testkit.Must(t, err)
		return func() {
			_, err := d.js.UpdateStream(t.Context(), before)
			testkit.Must(t, err)
		}
	}
	return []connectortest.Fault{
		{
			Name: "larger than it takes", Want: connectors.Permanent, Code: "10054", Broken: true,
			Arm: func(t *testing.T, u *events.Update) func() {
				u.Payload = append(u.Payload, make([]byte, 2000)...)
				return change(t, func(c *jetstream.StreamConfig) { c.MaxMsgSize = 1000 })
			},
		},
		{
			Name: "full", Want: connectors.Unready, Code: "10077",
			Arm: func(t *testing.T, u *events.Update) func() {
				u.Payload = append(u.Payload, make([]byte, 100<<10)...)
				return change(t, func(c *jetstream.StreamConfig) { c.MaxBytes, c.Discard = 90<<10, jetstream.DiscardNew })
			},
		},
		{
			Name: "foreign", Want: connectors.Conflict, Code: "foreign", Broken: true,
			Arm: func(t *testing.T, u *events.Update) func() {
				d.put(t, u.Key, "theirs")
				return func() {
					d.put(t, u.Key, "", "ce-entityversion", "1", "ce-op", "delete")
				}
			},
		},
	}
}
