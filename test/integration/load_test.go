package integration

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/hms-utl/extsync/internal/faults"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/publish"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// A load is what publishers do to a channel, or to a topic: versions of random keys, each
// counted up from 1.
type load struct {
	channel    string
	topic      string // in place of channel
	keys       int
	updates    int
	over       time.Duration // spread over so long; 0: as fast as they can
	publishers int           // at once, each with keys of its own; 0: 4
	pad        int           // bytes of each payload on top
	seed       uint64
	from       int64  // version that every key has already
	prefix     string // of the keys; "": k
}

// A publishing is a load under way.
type publishing struct {
	stop context.CancelFunc
	wg   sync.WaitGroup
	sent atomic.Int64

	mu       sync.Mutex
	accepted []faults.Accepted
	err      error
}

// publish starts a load. It goes on while the broker is away, as a publisher
// should: the same update again until there is an answer.
func (r *rig) publish(l load) *publishing {
	r.t.Helper()
	if l.publishers == 0 {
		l.publishers = 4
	}
	if l.prefix == "" {
		l.prefix = "k"
	}
	limit := rate.NewLimiter(rate.Inf, 1)
	if l.over > 0 {
		limit = rate.NewLimiter(rate.Limit(float64(l.updates)/l.over.Seconds()), 16)
	}
	ctx, stop := context.WithCancel(context.Background())
	p := &publishing{stop: stop}
	r.t.Cleanup(func() { stop(); p.wg.Wait() })
	for i := range l.publishers {
		p.wg.Go(func() { p.run(ctx, r.pub, l, i, limit) })
	}
	return p
}

// run is one publisher. It has every publishers-th key for itself.
func (p *publishing) run(ctx context.Context, pub *publish.Publisher, l load, i int, limit *rate.Limiter) {
	dice := rand.New(rand.NewPCG(l.seed, uint64(i)))
	mine := (l.keys - i + l.publishers - 1) / l.publishers
	versions := make([]int64, mine)
	for k := range versions {
		versions[k] = l.from
	}
	var accepted []faults.Accepted
	var err error
	for n := i; n < l.updates && mine > 0 && err == nil && limit.Wait(ctx) == nil; n += l.publishers {
		k := dice.IntN(mine)
		if n < l.keys { // every key gets its first version
			k = n / l.publishers
		}
		versions[k]++
		u := update(l.channel, fmt.Sprintf("%s%d", l.prefix, k*l.publishers+i), versions[k], l.pad)
		if l.topic != "" {
			u.Topic, u.ID = l.topic, ""
		}
		a := faults.Accepted{Key: u.Key, Tag: u.Tag()}
		a.Uncertain, err = publishUntilAnswered(ctx, pub, u)
		accepted = append(accepted, a)
		p.sent.Add(1)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.accepted = append(p.accepted, accepted...)
	p.err = errors.Join(p.err, err)
}

// publishUntilAnswered repeats an update until the broker has it. If ctx ends
// first, nobody knows.
func publishUntilAnswered(ctx context.Context, pub *publish.Publisher, u events.Update) (uncertain bool, err error) {
	for {
		_, err := pub.Publish(ctx, u)
		switch {
		case err == nil:
			return false, nil
		case ctx.Err() != nil:
			return true, nil
		case !wire.IsUnavailable(err) && !errors.Is(err, events.ErrBusy):
			return true, fmt.Errorf("publish key %s version %s: %w", u.Key, u.Version, err)
		}
		waitFor(ctx, 50*time.Millisecond)
	}
}

// wait waits for the end of the load and returns what was accepted.
func (p *publishing) wait(r *rig) []faults.Accepted {
	r.t.Helper()
	p.wg.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	r.must(p.err)
	return p.accepted
}

// running reports whether so many updates were not published yet, and nothing
// has ended the load before.
func (p *publishing) running(updates int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err == nil && p.sent.Load() < int64(updates)
}

// update makes an update whose payload says what it is.
func update(channel, key string, version int64, pad int) events.Update {
	payload, err := json.Marshal(map[string]any{"key": key, "version": version, "pad": strings.Repeat("x", pad)})
	if err != nil {
		panic(err) // text and numbers can be written
	}
	return events.Update{Channel: channel, Key: key, Version: versioning.Must(versioning.Number(version)), Payload: payload}.WithDefaults()
}
