package integration

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/hms-utl/extsync/internal/faults"
	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/internal/testkit/apis"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// A killer decides about the requests of an API: it kills the worker that makes one, before
// the API has seen it, after the API has done it, or after the answer.
type killer struct {
	mu     sync.Mutex
	dice   *rand.Rand
	victim func() *faults.Process
	left   int // workers that may still be killed
	killed chan struct{}
}

func (k *killer) decide(*http.Request) apis.Fate {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.left == 0 || k.dice.IntN(8) > 0 {
		return apis.Answered
	}
	k.left--
	victim := k.victim()
	fate := []apis.Fate{apis.Refused, apis.Lost, apis.Answered}[k.dice.IntN(3)]
	if fate == apis.Answered { // somewhere between the answer and the log, or behind it
		time.AfterFunc(time.Duration(k.dice.IntN(3000))*time.Microsecond, func() { k.kill(victim) })
		return fate
	}
	k.kill(victim)
	return fate
}

func (k *killer) kill(p *faults.Process) {
	p.Kill()
	k.killed <- struct{}{}
}

// An API gives its own ids, and the worker is killed at every step between a call and the
// log: there is one object for each key, always, and it has the newest version.
func TestOneObjectForEachKeyWhileWorkersAreKilled(t *testing.T) {
	t.Parallel()
	kills := sized(t, "workers killed", 8, 100)
	const keys = 12
	contacts := &apis.Contacts{}
	lossy := &apis.Lossy{API: contacts}
	server := httptest.NewServer(lossy)
	t.Cleanup(server.Close)
	r := newRig(t)
	r.channel("crm", channels.Latest, "http", map[string]any{
		"url": server.URL + "/contacts", "allow_cidrs": []string{"127.0.0.0/8"},
		"update": map[string]any{"method": "PUT", "url": server.URL + "/contacts/{ref.id}"},
		"delete": map[string]any{"url": server.URL + "/contacts/{ref.id}"},
		"lookup": map[string]any{
			"url": server.URL + "/contacts?external_id={key}", "found": ".body.total > 0", "remember": map[string]any{"id": ".body.items[0].id"},
		},
		"answers": []any{map[string]any{"when": ".status < 300 and .body.id != null", "class": "ok", "remember": map[string]any{"id": ".body.id"}}},
	}, func(c *channels.Config) { c.Mapping, c.Partitions = "{external_id: $key, data: .}", 1 })

	k := &killer{dice: rand.New(rand.NewPCG(1, 1)), left: kills, killed: make(chan struct{}, kills)} //nolint:gosec // reproducible on purpose
	worker := r.worker("w0")
	k.victim = func() *faults.Process { return worker }
	lossy.Decide(k.decide)
	newest := map[string]events.Update{}
	publish := func(version int64) {
		for n := range keys {
			u := update("crm", fmt.Sprint("k", n), version, 0)
			if (version+int64(n))%5 == 0 {
				u.Op, u.Payload, u.ContentType = events.Delete, nil, ""
			}
			_, err := r.pub.Publish(t.Context(), u)
			r.must(err)
			newest[u.Key] = u
		}
	}
	version := int64(1)
	publish(version)
	for n := range kills {
		for killed := false; !killed; {
			select {
			case <-k.killed:
				killed = true
			case <-time.After(100 * time.Millisecond): // the one that is there has nothing to do
				version++
				publish(version)
			}
		}
		k.mu.Lock()
		worker = r.worker(fmt.Sprint("w", n+1))
		k.mu.Unlock()
	}
	for _, u := range newest {
		ack := awaited(r, u)
		if ack.Outcome != events.Delivered {
			t.Errorf("%s@%s: %+v", u.Key, u.Version, ack)
		}
		held := contacts.Held(u.Key)
		want := 1
		if u.Op == events.Delete {
			want = 0
		}
		if len(held) != want {
			t.Errorf("%s@%s: %d objects, want %d", u.Key, u.Version, len(held), want)
			continue
		}
		if want == 1 && string(held[0].Data) != string(u.Payload) {
			t.Errorf("%s@%s: the object has %s, want %s", u.Key, u.Version, held[0].Data, u.Payload)
		}
	}
}

// awaited returns the outcome of an update as soon as there is one.
func awaited(r *rig, u events.Update) (ack events.Ack) {
	r.t.Helper()
	testkit.Eventually(r.t, "an outcome of "+u.Key, func() bool {
		var err error
		ack, err = r.pub.Outcome(r.t.Context(), u.Channel, u.Key, versioning.Tag{Version: u.Version})
		return err == nil
	})
	return ack
}
