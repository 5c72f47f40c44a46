package integration

import (
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/events"
)

// Sixteen cases from the trackers and forums of other tools that deliver to systems they do
// not own: an update was lost, cut, repeated for ever, or held others up. One worker has a
// channel for each of them. The case of a pooler comes twice.
func TestCasesFromOtherTools(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.worker("w1")
	for name, tt := range map[string]struct {
		channel string
		run     func(c *caseRig)
	}{
		"a target that asks for an hour gets it":                     {"patience", targetAsksForAnHour},
		"a 403 of one key holds nobody else up":                      {"forbidden", oneKeyIsForbidden},
		"a 409 while the target is still at it is no conflict":       {"progress", targetIsStillAtIt},
		"a rule for 404 leaves deletes alone":                        {"absent", ruleForMissingLeavesDeletesAlone},
		"a child that comes before its parent is there after it":     {"child", childComesBeforeItsParent},
		"a delete reaches a table whose columns must not be null":    {"users", deleteReachesNotNull},
		"a number that the column would cut is refused":              {"prices", numberIsNotCut},
		"a pooler in transaction mode needs no setting":              {"pooled", poolerNeedsNoSetting("")},
		"a pooler that ignores our limits needs none either":         {"ignoring", poolerNeedsNoSetting("ignore_startup_parameters = statement_timeout,lock_timeout,extra_float_digits")},
		"the channel's timeout alone bounds a call":                  {"slow", timeoutAloneBoundsACall},
		"a value is cast to the type of its column":                  {"ratings", valueIsCastToItsColumn},
		"nothing is given up for 404 while a target is deployed":     {"deployed", targetIsDeployed},
		"an answer 200 that says throttled is told from a refusal":   {"shop", throttledInTheBody},
		"two keys that fail alone are told and end with the third":   {"twokeys", twoKeysFailAlone},
		"the ETag of the last answer goes with the next request":     {"dav", etagGoesWithTheNextRequest},
		"apply makes a stream again that was deleted":                {"remade", streamIsMadeAgain},
		"a compressed answer that nobody has asked for is read, too": {"zipped", compressedAnswerIsRead},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			own := &rig{t: t, crew: r.crew, url: r.url, nc: r.nc, js: r.js, names: r.names, registry: r.registry, pub: r.pub, ledger: r.ledger, lease: r.lease}
			tt.run(&caseRig{rig: own, name: tt.channel, calls: map[string][]call{}})
		})
	}
}

// A caseRig is one case: the rig of all with a channel, and what its target sees.
type caseRig struct {
	*rig
	name string

	mu    sync.Mutex
	calls map[string][]call // by key
}

// A call is a request that the scripted target got.
type call struct {
	at     time.Time
	method string
	header http.Header
}

// open makes a channel of the case. Unlike others of a rig it has one partition, as
// people's own have, and gives up after a few attempts.
func (c *caseRig) open(name, kind string, attempts int, connector map[string]any, change ...func(*channels.Config)) {
	c.t.Helper()
	connector["allow_cidrs"] = []string{"127.0.0.0/8"}
	c.channel(name, channels.Latest, kind, connector, append([]func(*channels.Config){func(cfg *channels.Config) {
		cfg.Partitions, cfg.MaxBytes, cfg.Retry.MaxAttempts = 1, 8<<20, attempts
	}}, change...)...)
}

// serve starts a target that answers the nth call for a key, from 1, as the script says.
// It returns the address with {key}.
func (c *caseRig) serve(script func(w http.ResponseWriter, r *http.Request, key string, nth int)) string {
	c.t.Helper()
	return target(c.t, func(w http.ResponseWriter, r *http.Request) {
		key := r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]
		c.mu.Lock()
		c.calls[key] = append(c.calls[key], call{at: time.Now(), method: r.Method, header: r.Header.Clone()})
		nth := len(c.calls[key])
		c.mu.Unlock()
		script(w, r, key, nth)
	}) + "/v1/{key}"
}

// seen returns the calls for a key so far.
func (c *caseRig) seen(key string) []call {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.calls[key]
}

// push publishes a version of a key to the case's channel.
func (c *caseRig) push(key string, version int64, payload string) events.Update {
	c.t.Helper()
	return c.pushTo(c.name, key, version, payload)
}

func (c *caseRig) pushTo(channel, key string, version int64, payload string) events.Update {
	c.t.Helper()
	u := events.Update{Channel: channel, Key: key, Version: testkit.Number(version), Payload: []byte(payload)}
	if payload == "" {
		u.Op, u.Payload = events.Delete, nil
	}
	c.accept(u)
	return u
}

// ends waits for the outcome of an update, which must be this one.
func (c *caseRig) ends(u events.Update, want events.Outcome) events.Ack {
	c.t.Helper()
	ack := c.outcome(u)
	if ack.Outcome != want {
		c.t.Fatalf("%s version %s: %s, want %s: %+v", u.Key, u.Version, ack.Outcome, want, ack)
	}
	return ack
}

// failing waits until an attempt of a key has failed, and returns what is known of it.
func (c *caseRig) failing(channel, key string) (rec wire.Record) {
	c.t.Helper()
	testkit.Eventually(c.t, "a failed attempt of "+key, func() bool {
		var err error
		rec, err = c.ledger.Get(c.t.Context(), channel, key)
		return err == nil && rec.Error != nil
	})
	return rec
}
