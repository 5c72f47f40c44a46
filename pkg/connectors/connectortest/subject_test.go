package connectortest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connectortest"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

const (
	badPayload = `"bad"`
	secret     = "swordfish-and-more"
	maxBatch   = 7
	// promisesNothing is no flaw but another kind of target.
	promisesNothing = "promises nothing"
)

var (
	errDown    = errors.New("the store is down")
	errLost    = errors.New("the answer was lost")
	errRefused = errors.New("the store refuses this")
)

// A store is a target in memory, with the faults that a test asks for.
type store struct {
	mu     sync.Mutex
	held   map[string]connectors.Held
	there  map[string][]byte // contents
	writes map[string]int
	down   bool
	lose   bool
	hang   map[string]chan struct{}
	fault  string // a flaw of the connector to it; see TestFlaws
}

func newStore(fault string) *store {
	return &store{held: map[string]connectors.Held{}, there: map[string][]byte{}, writes: map[string]int{}, hang: map[string]chan struct{}{}, fault: fault}
}

// write does what an update says, if the guard lets it.
func (s *store) write(ctx context.Context, a connectors.Attempt) (versioning.Tag, versioning.Verdict, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down {
		return versioning.Tag{}, 0, errDown
	}
	if hang := s.hang[a.Key]; hang != nil {
		s.mu.Unlock()
		select {
		case <-hang:
		case <-s.endOf(ctx):
		}
		s.mu.Lock()
		if ctx.Err() != nil {
			return versioning.Tag{}, 0, ctx.Err()
		}
	}
	if string(a.Payload) == badPayload {
		return versioning.Tag{}, 0, errRefused
	}
	next := connectors.Held{Tag: versioning.Tag{Version: a.Version, Digest: a.Digest}, Op: a.Op}
	key := a.Key
	s.distort(&key, &next)
	before := s.held[key].Tag
	if s.fault == "looks first and writes later" {
		s.mu.Unlock()
		for range 20 {
			runtime.Gosched()
		}
		s.mu.Lock()
	}
	verdict, err := versioning.Guard(before, next.Tag, versioning.Version{})
	if err != nil {
		return before, verdict, err
	}
	if s.fault == "checks, then acts" && verdict == versioning.Newer {
		s.awaitNewer(key, next.Version)
	}
	if s.fault == promisesNothing || s.fault == "takes anything" || s.fault == "takes other content" && verdict == versioning.Conflict {
		verdict = versioning.Newer
	}
	if verdict == versioning.Newer {
		s.held[key] = next
		s.writes[key]++
		s.there[key] = s.kept(s.there[key], a)
		if (s.fault == promisesNothing || s.fault == "forgets tombstones") && a.Op == events.Delete {
			delete(s.held, key)
		}
	}
	if s.lose {
		s.lose = false
		return versioning.Tag{}, 0, errLost
	}
	return before, verdict, nil
}

// kept returns what is held of a content that takes the place of another one.
func (s *store) kept(before []byte, a connectors.Attempt) []byte {
	switch {
	case a.Op == events.Delete && s.fault != "shows what was deleted", s.fault == "shows the version before" && before == nil:
		return nil
	case a.Op == events.Delete || s.fault == "shows the version before":
		return before
	default:
		return bytes.Clone(a.Payload)
	}
}

// endOf returns when a hanging call ends: never, for a connector that does not
// care.
func (s *store) endOf(ctx context.Context) <-chan struct{} {
	if s.fault == "waits for ever" {
		return nil
	}
	return ctx.Done()
}

func (s *store) distort(key *string, next *connectors.Held) {
	switch s.fault {
	case "counts in floats":
		if n, ok := next.Version.Int64(); ok && n < 1<<62 {
			next.Version = versioning.Must(versioning.Number(int64(float64(n))))
		}
	case "folds keys":
		*key = strings.ToLower(*key)
	case "cuts times":
		if at, ok := next.Version.AsTime(); ok {
			next.Version = versioning.Must(versioning.Time(at.Truncate(time.Microsecond)))
		}
	}
}

// A subject is a connector to a store.
type subject struct {
	*store
	stop chan struct{}
}

func (c *subject) MaxBatch() int { return maxBatch }

func (c *subject) Apply(ctx context.Context, attempts []connectors.Attempt) []connectors.Result {
	results := make([]connectors.Result, 0, len(attempts))
	failed := false
	for _, a := range attempts {
		res := c.one(ctx, a)
		if c.fault == "writes twice" && res.Class == connectors.Permanent {
			c.again(attempts)
		}
		failed = failed || res.Class == connectors.Permanent
		results = append(results, res)
	}
	switch {
	case c.fault == "loses a result" && len(results) > 1:
		results = results[1:]
	case c.fault == "sorts results":
		slices.Reverse(results)
	case c.fault == "fails the whole batch" && failed:
		for i := range results {
			results[i] = connectors.Failed(connectors.Permanent, "bad", errRefused)
		}
	}
	return results
}

func (c *subject) again(attempts []connectors.Attempt) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, a := range attempts {
		c.writes[a.Key]++
	}
}

func (c *subject) one(ctx context.Context, a connectors.Attempt) connectors.Result {
	if ctx.Err() != nil && c.fault != "ignores its ctx" {
		return connectors.Failed(connectors.Transient, "canceled", ctx.Err())
	}
	before, verdict, err := c.write(ctx, a)
	switch {
	case errors.Is(err, errRefused) && c.fault == "shows the secret":
		return connectors.Failed(connectors.Permanent, "bad", fmt.Errorf("%w with %s", err, secret))
	case errors.Is(err, errRefused) && c.fault == "excerpts the secret":
		return connectors.Result{Class: connectors.Permanent, Code: "bad", Err: err, Response: secret}
	case errors.Is(err, errRefused) && c.fault == "has no code":
		return connectors.Failed(connectors.Permanent, "", err)
	case errors.Is(err, errRefused):
		return connectors.Failed(connectors.Permanent, "bad", err)
	case errors.Is(err, errLost) && c.fault == "takes lost for done":
		return connectors.Done()
	case err != nil:
		return connectors.Failed(connectors.Transient, "down", err)
	case verdict == versioning.Conflict && c.fault == "shows the payload":
		return connectors.Result{Class: connectors.Conflict, Code: "c", Err: fmt.Errorf("not %s", a.Payload), Held: before}
	case verdict == versioning.Conflict:
		return connectors.Result{Class: connectors.Conflict, Code: "conflict", Err: errors.New("other content"), Held: before}
	case verdict == versioning.Stale && c.fault == "does not say what is held":
		return connectors.Failed(connectors.Stale, "stale", errors.New("older"))
	case verdict == versioning.Stale:
		return connectors.Result{Class: connectors.Stale, Code: "stale", Err: errors.New("older"), Held: before}
	default:
		return connectors.Done()
	}
}

func (c *subject) Probe(context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.down && c.fault != "is always well" {
		return errDown
	}
	return nil
}

func (c *subject) Read(_ context.Context, keys []string) ([]connectors.Held, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := make([]connectors.Held, len(keys))
	for i, key := range keys {
		out[i] = c.held[key]
	}
	if c.fault == "reads in another order" {
		slices.Reverse(out)
	}
	return out, nil
}

func (c *subject) Fetch(_ context.Context, a connectors.Attempt) (connectors.Fetched, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	held, there := c.held[a.Key]
	theirs := c.there[a.Key]
	switch {
	case c.fault == "shows what it is asked about":
		theirs = a.Payload
	case c.fault == "cuts what it shows" && len(theirs) > 1000:
		theirs = theirs[:1000]
	}
	part := connectors.ContentPart(a.Payload, theirs, !bytes.Equal(a.Payload, theirs))
	return connectors.Fetched{Held: held, There: there, Parts: []connectors.Part{part}}, nil
}

func (c *subject) Close(context.Context) error {
	if c.fault != "leaves a goroutine" {
		close(c.stop)
	}
	return nil
}

func (s *store) kind() connectors.Kind {
	can := connectors.Capabilities{Guard: connectors.GuardAtomic, KeepsDigest: true, KeepsTombstone: true, Probes: true, Reads: true, Fetches: true, Batches: true}
	switch s.fault {
	case promisesNothing:
		can.Guard, can.KeepsDigest, can.KeepsTombstone = connectors.GuardLedger, false, false
	case "is declared to do less":
		can.KeepsTombstone = false
	}
	return connectors.Kind{Name: "subject", Capabilities: can, Open: func(context.Context, connectors.Env, []byte) (connectors.Connector, error) {
		c := &subject{store: s, stop: make(chan struct{})}
		go func() { <-c.stop }()
		return c, nil
	}}
}

func (s *store) target() connectortest.Target {
	set := func(f func()) {
		s.mu.Lock()
		defer s.mu.Unlock()
		f()
	}
	return connectortest.Target{
		Open: func(t *testing.T) *connectors.Opened {
			t.Helper()
			c, err := connectors.Open(t.Context(), s.kind(), connectors.Env{}, nil)
			if err != nil {
				t.Fatal(err)
			}
			return c
		},
		Read: func(_ *testing.T, keys ...string) map[string]connectors.Held {
			s.mu.Lock()
			defer s.mu.Unlock()
			out := map[string]connectors.Held{}
			for _, key := range keys {
				if held, there := s.held[key]; there {
					out[key] = held
				}
			}
			return out
		},
		Guarded: true, KeepsDigest: true, Tombstones: true, Times: true,
		BadUpdate: func(u *events.Update) { u.Payload = []byte(badPayload) },
		Writes: func(_ *testing.T, key string) int {
			s.mu.Lock()
			defer s.mu.Unlock()
			return s.writes[key]
		},
		Cut:     func(*testing.T) { set(func() { s.down = true }) },
		Restore: func(*testing.T) { set(func() { s.down = false }) },
		LoseAnswer: func(*testing.T) func() {
			set(func() { s.lose = true })
			return func() {}
		},
		Hang: func(_ *testing.T, key string) func() {
			release := make(chan struct{})
			set(func() { s.hang[key] = release })
			return func() {
				set(func() { delete(s.hang, key) })
				close(release)
			}
		},
		Faults: []connectortest.Fault{{
			Name: "down", Want: connectors.Transient, Code: "down",
			Arm: func(*testing.T, *events.Update) func() {
				set(func() { s.down = true })
				return func() { set(func() { s.down = false }) }
			},
		}},
		Secrets: []string{secret},
	}
}
