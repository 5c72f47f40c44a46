package wire_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"

	"github.com/hms-utl/extsync/internal/natsserver/natstest"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/internal/wire/wiretest"
	"github.com/hms-utl/extsync/pkg/events"
)

// logGroups writes groups of the outcome log, each with one entry of key "k"
// among others when mine says so. The version is the number of the group.
func (p *platform) logGroups(t *testing.T, n int, mine func(i int) bool) {
	t.Helper()
	for i := 1; i <= n; i++ {
		other := wiretest.Entry(t, fmt.Sprint(i)+"a", events.Delivered)
		other.Key = `another "key":"k"`
		g := wire.Group{Format: wire.Format, Channel: "latest", Partition: i % 2, Epoch: 1, Number: uint64(i), Worker: "w", At: wiretest.Noon()}
		g.Entries = []wire.Entry{other}
		if mine(i) {
			e := wiretest.Entry(t, fmt.Sprint(i)+"a", events.Delivered)
			e.Key = `k"ey`
			g.Entries = append(g.Entries, e)
		}
		data, err := json.Marshal(g)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.JS.PublishAsync(wire.Outcomes(p.names, g.Channel, wire.Incarnation(1+i/2), g.Partition), data); err != nil {
			t.Fatal(err)
		}
	}
	<-p.JS.PublishAsyncComplete()
}

func versionsOf(l wire.Timeline) []string {
	var out []string
	for _, e := range l.Entries {
		out = append(out, e.Version.String())
	}
	return out
}

func TestHistory(t *testing.T) {
	p := newPlatform(t)
	const n = 2500 // more than one window
	p.logGroups(t, n, func(i int) bool { return i%500 == 0 || i == 1 })
	for _, tt := range []struct {
		limit    int
		want     string
		complete bool
	}{
		{1, "[2500]", false},
		{2, "[2500 2000]", false},
		{5, "[2500 2000 1500 1000 500]", false},
		{6, "[2500 2000 1500 1000 500 1]", true},
		{7, "[2500 2000 1500 1000 500 1]", true},
		{0, "[2500 2000 1500 1000 500 1]", true},
	} {
		t.Run(fmt.Sprintf("limit %d", tt.limit), func(t *testing.T) {
			line, err := wire.History(t.Context(), p.JS, p.names, "latest", `k"ey`, tt.limit)
			if err != nil {
				t.Fatal(err)
			}
			if got := fmt.Sprint(versionsOf(line)); got != tt.want || line.Complete != tt.complete {
				t.Errorf("= %s, complete %t, want %s, %t", got, line.Complete, tt.want, tt.complete)
			}
			for _, e := range line.Entries {
				if e.Worker != "w" || e.LogSequence == 0 || e.Key != `k"ey` {
					t.Errorf("entry = %+v", e)
				}
			}
		})
	}
	line, err := wire.History(t.Context(), p.JS, p.names, "every", `k"ey`, 0)
	if err != nil || len(line.Entries) != 0 || !line.Complete {
		t.Errorf("another channel: %+v, %v", line, err)
	}
}

func TestHistoryErrors(t *testing.T) {
	b := natstest.Run(t)
	names := events.DefaultNames()
	if _, err := wire.History(t.Context(), b.JS, names, "c", "k", 1); !errors.Is(err, events.ErrNotProvisioned) {
		t.Errorf("not provisioned: %v", err)
	}
	if _, err := wire.History(t.Context(), b.JS, names, "c", "", 1); !errors.Is(err, events.ErrKey) {
		t.Errorf("no key: %v", err)
	}
	if _, err := wire.History(t.Context(), b.JS, names, "a.b", "k", 1); !errors.Is(err, events.ErrName) {
		t.Errorf("bad channel: %v", err)
	}
}
