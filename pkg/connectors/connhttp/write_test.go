package connhttp

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hms-utl/extsync/internal/testkit/apis"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// contactsConfig is for an API that makes ids and finds objects by our key.
const contactsConfig = `
url: %[1]s/contacts
allow_cidrs: [127.0.0.0/8]
update: {method: PUT, url: '%[1]s/contacts/{ref.id}'}
delete: {url: '%[1]s/contacts/{ref.id}'}
lookup: {url: '%[1]s/contacts?external_id={key}', found: .body.total > 0, remember: {id: '.body.items[0].id'}, after: %[2]s}
answers:
  - {when: .status < 300 and .body.id != null, class: ok, remember: {id: .body.id}}
`

// filesConfig is for a store that wants its ETags back.
const filesConfig = `
url: %[1]s/files/{key}
method: PUT
allow_cidrs: [127.0.0.0/8]
create: {headers: {If-None-Match: '*'}}
update: {headers: {If-Match: '{ref.etag}'}}
delete: {headers: {If-Match: '{ref.etag}'}}
read: {url: '%[1]s/files/{key}', version: .version, digest: .digest, remember: {etag: .headers.etag}}
lookup: {url: '%[1]s/files/{key}', remember: {etag: .headers.etag}}
answers:
  - {when: .status < 300 and .headers.etag != null, class: ok, remember: {etag: .headers.etag}}
`

// A clock is moved by the test, and read by the API too: of a request whose caller has
// gone, it may go on.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// An engine drives a connector as the delivery engine does, with a clock of its own.
type engine struct {
	t      *testing.T
	conn   connectors.Connector
	clock  *clock
	refs   connectors.Refs
	unsure bool
	calls  int
	done   func() // closes connections sooner than the end of the test
	forget int    // the call after which the worker is killed, 0 for none
}

// newEngine opens a connector by a configuration that names an API's address.
func newEngine(t *testing.T, api http.Handler, config string, args ...any) *engine {
	t.Helper()
	s := httptest.NewServer(api)
	s.Config.ErrorLog = nil
	t.Cleanup(s.Close)
	c, err := Decode([]byte(fmt.Sprintf(config, append([]any{s.URL}, args...)...)))
	if err != nil {
		t.Fatal(err)
	}
	e := &engine{t: t, clock: &clock{at: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}}
	e.conn = openTest(t, c, deps{now: e.clock.now})
	e.done = func() {
		e.conn.(*connector).transport.CloseIdleConnections()
		s.Close()
	}
	return e
}

// once makes one attempt and keeps what the engine would keep.
func (e *engine) once(a connectors.Attempt) connectors.Result {
	e.t.Helper()
	a.Refs, a.Unsure = e.refs, e.unsure
	ctx, cancel := context.WithTimeout(e.t.Context(), 10*time.Second)
	defer cancel()
	res := e.conn.Apply(ctx, []connectors.Attempt{a})[0]
	e.calls++
	switch {
	case e.calls == e.forget:
		e.unsure = true // a new owner knows neither the call nor its answer
		return connectors.Failed(connectors.Transient, "killed", context.Canceled)
	case res.Class == connectors.OK && a.Op == events.Delete:
		e.refs, e.unsure = nil, false
	case res.Class == connectors.OK:
		e.refs, e.unsure = e.refs.With(res.Remember), false
	case res.Class == connectors.Transient && res.Code[0] >= 'a': // no status
		e.unsure = true
	}
	return res
}

// deliver makes attempts until one is final.
func (e *engine) deliver(a connectors.Attempt) connectors.Result {
	e.t.Helper()
	var res connectors.Result
	for a.Number = 1; a.Number < 20; a.Number++ {
		res = e.once(a)
		e.clock.advance(max(res.RetryAfter, time.Second))
		if !waiting(res.Class) {
			return res
		}
	}
	e.t.Fatalf("%s is not delivered: %s (%v)", a.Version, res.Class, res.Err)
	return connectors.Result{}
}

// numbered returns a version of the key "k"; text "" makes it a delete.
func numbered(version int64, text string) connectors.Attempt {
	u := events.Update{Channel: "c", Key: "k", Version: versioning.Must(versioning.Number(version))}
	if text == "" {
		u.Op = events.Delete
	} else {
		u.Payload = []byte(fmt.Sprintf(`{"external_id":"k","version":%d,"data":%q}`, version, text))
	}
	u = u.WithDefaults()
	return connectors.Attempt{Update: u, Digest: u.Digest()}
}

// faulty returns a decision for each request: two of them, by their numbers from 1, have a
// fate of their own.
func faulty(first, second int, a, b apis.Fate) func(*http.Request) apis.Fate {
	n := 0
	return func(*http.Request) apis.Fate {
		switch n++; n {
		case first:
			return a
		case second:
			return b
		default:
			return apis.Answered
		}
	}
}

// eachFault calls run with every way to lose up to two of the first requests or their
// answers, and to be killed after one call. Fewer of them are tried where time matters.
func eachFault(run func(name string, decide func(*http.Request) apis.Fate, kill int)) {
	requests, kills := 4, []int{0, 2}
	if os.Getenv("EXTSYNC_TEST_FULL") != "" {
		requests, kills = 8, []int{0, 1, 2, 3, 4}
	}
	fates := []apis.Fate{apis.Refused, apis.Lost}
	// An object that was gone, made anew without an answer, and not yet found.
	run("gone, made anew", faulty(2, 7, apis.Refused, apis.Lost), 4)
	for first := 1; first <= requests; first++ {
		for second := first + 1; second <= requests+1; second++ {
			for _, a := range fates {
				for _, b := range fates {
					for _, kill := range kills {
						name := fmt.Sprintf("%d:%v %d:%v killed:%d", first, a, second, b, kill)
						run(name, faulty(first, second, a, b), kill)
					}
				}
			}
		}
	}
}

// none of the steps of a life is superseded.
const none = -1

// life is what becomes of a key: each step is delivered before the next one comes, unless
// it is superseded after its first attempt.
func life() []connectors.Attempt {
	return []connectors.Attempt{numbered(1, "a"), numbered(2, "b"), numbered(3, ""), numbered(4, "c")}
}

// TestOneObjectForEachKey: whatever answer is lost, an API that would make two objects of
// one key has one, with the newest content.
func TestOneObjectForEachKey(t *testing.T) {
	for _, superseded := range []int{none, 0, 2} { // of the steps
		eachFault(func(name string, decide func(*http.Request) apis.Fate, kill int) {
			name = fmt.Sprintf("%s superseded:%v", name, superseded)
			api := &apis.Contacts{Lag: 5 * time.Second}
			front := &apis.Lossy{API: api}
			front.Decide(decide)
			e := newEngine(t, front, contactsConfig, "5s")
			defer e.done()
			api.Now = e.clock.now
			e.forget = kill
			for i, a := range life() {
				if i == superseded {
					a.Number = 1
					e.once(a) // the next version takes its place
					e.clock.advance(time.Second)
					continue
				}
				if res := e.deliver(a); res.Class != connectors.OK {
					t.Fatalf("%s: %s: %s (%v)", name, a.Version, res.Class, res.Err)
				}
				held := api.Held("k")
				if a.Op == events.Delete && len(held) != 0 || a.Op == events.Upsert && len(held) != 1 {
					t.Fatalf("%s: after %s the target has %d objects", name, a.Version, len(held))
				}
				if len(held) == 1 && !strings.Contains(string(a.Payload), string(held[0].Data)) {
					t.Fatalf("%s: after %s the target has %s", name, a.Version, held[0].Data)
				}
			}
		})
	}
}

// TestETags: whatever answer is lost, a store that wants its ETags back gets each version,
// and nobody else's changes are written over.
func TestETags(t *testing.T) {
	withoutLookup := strings.ReplaceAll(filesConfig, "lookup:", "# ")
	for name, config := range map[string]string{"read": withoutLookup, "read and lookup": filesConfig} {
		for _, silent := range []bool{false, true} {
			for _, superseded := range []int{none, 0, 2} {
				eachFault(func(fault string, decide func(*http.Request) apis.Fate, kill int) {
					fault = fmt.Sprintf("%s, %s superseded:%v silent:%v", name, fault, superseded, silent)
					api := &apis.Files{Silent: silent}
					front := &apis.Lossy{API: api}
					front.Decide(decide)
					e := newEngine(t, front, config)
					defer e.done()
					e.forget = kill
					for i, a := range life() {
						if i == superseded {
							a.Number = 1
							e.once(a)
							continue
						}
						if res := e.deliver(a); res.Class != connectors.OK {
							t.Fatalf("%s: %s: %s (%v), remembered %v", fault, a.Version, res.Class, res.Err, e.refs)
						}
						content, there, creates := api.Held("k")
						if there == (a.Op == events.Delete) || there && content != string(a.Payload) {
							t.Fatalf("%s: after %s the target has %q", fault, a.Version, content)
						}
						if creates > 2 {
							t.Fatalf("%s: made %d times", fault, creates)
						}
					}
				})
			}
		}
	}
}

// TestIdempotencyKeys: an API that refuses what is in progress gets one object of a key,
// whatever answer is lost.
func TestIdempotencyKeys(t *testing.T) {
	eachFault(func(name string, decide func(*http.Request) apis.Fate, kill int) {
		api := &apis.Orders{}
		front := &apis.Lossy{API: api}
		front.Decide(decide)
		e := newEngine(t, front, contactsConfig, "0s")
		defer e.done()
		e.forget = kill
		for _, a := range life() {
			if res := e.deliver(a); res.Class != connectors.OK {
				t.Fatalf("%s: %s: %s (%v)", name, a.Version, res.Class, res.Err)
			}
			if held := api.Held("k"); len(held) > 1 || len(held) == 1 != (a.Op == events.Upsert) {
				t.Fatalf("%s: after %s the target has %d objects", name, a.Version, len(held))
			}
		}
	})
}
