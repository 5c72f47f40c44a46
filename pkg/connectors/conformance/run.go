package conformance

import (
	"context"
	"encoding/json"
	"hash/fnv"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// slack is how much later than its ctx a call of Apply may return.
const slack = 3 * time.Second

func hash(s string) uint32 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(s)) // never fails
	return h.Sum32()
}

// open returns a fresh connector that is closed with the case.
func (r *run) open() *connectors.Opened {
	r.Helper()
	c := r.Open(r.T)
	if c == nil {
		r.Fatal("Target.Open returned nil")
	}
	r.opened = append(r.opened, c)
	return c
}

func (r *run) closeAll() {
	r.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), Timeout)
	defer cancel()
	for _, c := range r.opened {
		if err := c.Close(ctx); err != nil {
			r.Errorf("Close: %v", err)
			r.checkText("the error of Close", err.Error())
		}
	}
}

func number(n int64) versioning.Version { return versioning.Must(versioning.Number(n)) }

// payload returns a payload that holds text and what marks it as the suite's, so
// that it is recognised where no payload may be.
func (r *run) payload(text string) []byte {
	text = payloadMark + text
	if r.Payload != nil {
		return r.Payload(text)
	}
	data, err := json.Marshal(map[string]string{"text": text})
	if err != nil {
		r.Fatal(err)
	}
	return data
}

const payloadMark = "payload-canary-"

// upsert returns an attempt whose content follows from the version and text.
func (r *run) upsert(key string, v versioning.Version, text string) connectors.Attempt {
	return r.unchanged(key, v, text+"-"+strconv.FormatUint(uint64(hash(v.String())), 36))
}

// unchanged returns an attempt whose content follows from text alone, whatever the version
// is.
func (r *run) unchanged(key string, v versioning.Version, text string) connectors.Attempt {
	return attempt(events.Update{Channel: Channel, Key: key, Version: v, Op: events.Upsert, Payload: r.payload(text)})
}

// remove returns an attempt with a tombstone.
func (r *run) remove(key string, v versioning.Version) connectors.Attempt {
	return attempt(events.Update{Channel: Channel, Key: key, Version: v, Op: events.Delete})
}

func attempt(u events.Update) connectors.Attempt {
	u = u.WithDefaults()
	return connectors.Attempt{Update: u, Digest: u.Digest(), Number: 1}
}

// apply makes one attempt within Timeout and returns its result.
func (r *run) apply(c *connectors.Opened, a connectors.Attempt) connectors.Result {
	r.Helper()
	ctx, cancel := context.WithTimeout(r.Context(), Timeout)
	defer cancel()
	return r.applyAll(ctx, c, a)[0]
}

// applyAll makes the attempts, as a batch if the connector takes them so and
// else one by one, and checks what holds for every result. It may be called from
// any goroutine: it never ends the test, and gives as many results as there are
// attempts whatever the connector does.
func (r *run) applyAll(ctx context.Context, c *connectors.Opened, attempts ...connectors.Attempt) []connectors.Result {
	r.Helper()
	size := c.MaxBatch()
	results := make([]connectors.Result, 0, len(attempts))
	ctx = connectors.WithPartition(ctx, 0) // as the worker that owns it would
	for start := 0; start < len(attempts); start += size {
		part := r.memory.fill(c, attempts[start:min(start+size, len(attempts))])
		got := c.Apply(ctx, part)
		if len(got) != len(part) {
			r.Errorf("Apply gave %d results for %d attempts", len(got), len(part))
			got = make([]connectors.Result, len(part))
		}
		for i := range got {
			r.checkResult(part[i], got[i])
			r.memory.keep(part[i], got[i])
		}
		results = append(results, got...)
	}
	return results
}

// checkResult checks what holds for every result, whatever its class.
func (r *run) checkResult(a connectors.Attempt, res connectors.Result) {
	r.Helper()
	if (res.Class == connectors.OK) != (res.Err == nil) {
		r.Errorf("%s@%s: class %s with error %v", a.Key, a.Version, res.Class, res.Err)
	}
	if res.Class != connectors.OK && res.Code == "" {
		r.Errorf("%s@%s: class %s without a code", a.Key, a.Version, res.Class)
	}
	if res.RetryAfter < 0 {
		r.Errorf("%s@%s: RetryAfter is %v", a.Key, a.Version, res.RetryAfter)
	}
	if len(res.Response) > connectors.MaxResponse || !utf8.ValidString(res.Response) {
		r.Errorf("%s@%s: Response is not valid UTF-8 of at most %d bytes", a.Key, a.Version, connectors.MaxResponse)
	}
	if res.Err != nil {
		text := res.Err.Error()
		r.checkText("an error", text)
		if strings.ContainsAny(text, "\r\n") {
			r.Errorf("an error has more than one line: %q", text)
		}
		// The excerpt is the target's own words, the error is ours.
		if strings.Contains(text, payloadMark) {
			r.Errorf("an error shows the payload: %q", text)
		}
	}
	r.checkText("a response excerpt", res.Response)
	if res.Remember != nil && (res.Class != connectors.OK || res.Remember.Check() != nil) {
		r.Errorf("%s@%s: class %s with values to remember, or with such as cannot be kept", a.Key, a.Version, res.Class)
	}
	for _, value := range res.Remember {
		r.checkText("a value to remember", value)
	}
}

// checkText fails the test if text shows a secret; it does not repeat it.
func (r *run) checkText(what, text string) {
	r.Helper()
	for i, s := range r.Secrets {
		if s != "" && strings.Contains(text, s) {
			r.Errorf("%s shows Secrets[%d]", what, i)
		}
	}
}

// want checks the class of a result and, where the target is to say what it
// holds, that it said so.
func (r *run) want(what string, got connectors.Result, class connectors.Class, held versioning.Version) {
	r.Helper()
	if got.Class != class {
		r.Errorf("%s: class %s (code %q, error %v), want %s", what, got.Class, got.Code, got.Err, class)
	}
	if got.Held.Version != held {
		r.Errorf("%s: Held is %q, want %q", what, got.Held.Version, held)
	}
}

// wantTransient checks a result of which nothing is known but that it is to be
// tried again.
func (r *run) wantTransient(what string, got connectors.Result) {
	r.Helper()
	r.want(what, got, connectors.Transient, versioning.Version{})
}

// wantOK checks that an attempt was applied.
func (r *run) wantOK(what string, got connectors.Result) {
	r.Helper()
	if got.Class != connectors.OK {
		r.Errorf("%s: class %s (code %q, error %v), want ok", what, got.Class, got.Code, got.Err)
	}
}

// wantHeld checks that the target holds what the attempt says.
func (r *run) wantHeld(a connectors.Attempt) {
	r.Helper()
	if r.Read == nil {
		return
	}
	held, there := r.holds(a.Key)[a.Key]
	if a.Op == events.Delete && !r.Tombstones {
		if there {
			r.Errorf("%.60q: the target holds %s of a deleted key", a.Key, held.Version)
		}
		return
	}
	switch {
	case !there:
		r.Errorf("%.60q: the target holds nothing, want %s", a.Key, a.Version)
	case held.Version != a.Version:
		r.Errorf("%.60q: the target holds %s, want %s", a.Key, held.Version, a.Version)
	case held.Op != a.Op:
		r.Errorf("%.60q@%s: the target holds op %q, want %q", a.Key, a.Version, held.Op, a.Op)
	case r.KeepsDigest && held.Digest != a.Digest:
		r.Errorf("%.60q@%s: the target holds digest %s, want %s", a.Key, a.Version, held.Digest, a.Digest)
	}
}

// wantAbsent checks that the target holds nothing of a key.
func (r *run) wantAbsent(key string) {
	r.Helper()
	if held, there := r.holds(key)[key]; there {
		r.Errorf("%.60q: the target holds %s, want nothing", key, held.Version)
	}
}
