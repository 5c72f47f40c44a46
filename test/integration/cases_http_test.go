package integration

import (
	"compress/gzip"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/hms-utl/extsync/internal/cli"
	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/events"
)

func targetAsksForAnHour(c *caseRig) {
	c.open(c.name, "http", 3, map[string]any{"method": "PUT", "url": c.serve(func(w http.ResponseWriter, _ *http.Request, _ string, _ int) {
		w.Header().Set("Retry-After", "3600")
		w.WriteHeader(http.StatusTooManyRequests)
	})})
	c.push("k", 1, `{}`)
	rec := c.failing(c.name, "k")
	calls := c.seen("k")
	if wait := rec.NextAttempt.Sub(calls[0].at); wait < time.Hour || wait > 2*time.Hour || len(calls) != 1 {
		c.t.Errorf("after %d calls the next one is %s after the first; the target has asked for an hour", len(calls), wait)
	}
	if out := c.extsync("get", c.name, "k").ok(c.t); !strings.Contains(out, rec.NextAttempt.UTC().Format("2006-01-02T15:04")) {
		c.t.Errorf("get does not say that the next attempt is at %s:\n%s", rec.NextAttempt, out)
	}
}

func oneKeyIsForbidden(c *caseRig) {
	c.open(c.name, "http", 3, map[string]any{"method": "PUT", "url": c.serve(func(w http.ResponseWriter, _ *http.Request, key string, _ int) {
		if key == "bad" {
			w.WriteHeader(http.StatusForbidden)
		}
	})})
	bad := c.push("bad", 1, `{}`)
	testkit.Eventually(c.t, "the channel is blocked", func() bool { return c.status(c.name).Circuit == "blocked" })
	for i := range 3 {
		key := fmt.Sprint("k", i)
		if ack := c.ends(c.push(key, 1, `{}`), events.Delivered); ack.Attempts != 1 || len(c.seen(key)) != 1 {
			c.t.Errorf("not at the first attempt: %+v", ack)
		}
	}
	if ack := c.ends(bad, events.DeadLettered); ack.Code != "403" {
		c.t.Errorf("the key at fault: %+v", ack)
	}
}

// The target carries out the first request until it has refused another one, whether its
// caller waits or not.
func targetIsStillAtIt(c *caseRig) {
	refused := make(chan struct{})
	done := make(chan struct{})
	c.open(c.name, "http", 20, map[string]any{"url": c.serve(func(w http.ResponseWriter, _ *http.Request, _ string, nth int) {
		if nth == 1 {
			select {
			case <-refused:
				close(done)
			case <-c.t.Context().Done(): // the test has failed
			}
			return
		}
		select {
		case <-done: // it repeats its answer
		default:
			w.WriteHeader(http.StatusConflict)
			if nth == 2 {
				close(refused)
			}
		}
	})}, func(cfg *channels.Config) { cfg.Timeout = connectors.Duration(500 * time.Millisecond) })
	c.ends(c.push("k", 1, `{}`), events.Delivered)
	calls := c.seen("k")
	for _, again := range calls {
		if id := again.header.Get("Idempotency-Key"); id == "" || id != calls[0].header.Get("Idempotency-Key") {
			c.t.Errorf("a repeated request has the idempotency key %q", id)
		}
	}
	if len(calls) < 3 {
		c.t.Errorf("%d calls; one was to time out, one to be refused", len(calls))
	}
}

func ruleForMissingLeavesDeletesAlone(c *caseRig) {
	c.open(c.name, "http", 6, map[string]any{
		"method": "PUT", "delete": map[string]any{"method": "DELETE"},
		"answers": []any{map[string]any{"when": ".status == 404", "class": "transient"}},
		"url": c.serve(func(w http.ResponseWriter, r *http.Request, _ string, nth int) {
			if r.Method == http.MethodDelete || nth <= 3 {
				w.WriteHeader(http.StatusNotFound)
			}
		}),
	})
	late, gone := c.push("late", 1, `{}`), c.push("gone", 1, "")
	c.ends(late, events.Delivered)
	c.ends(gone, events.Delivered)
	if calls := c.seen("gone"); len(calls) != 1 || calls[0].method != http.MethodDelete {
		c.t.Errorf("the delete made the calls %+v", calls)
	}
	if n := len(c.seen("late")); n != 4 {
		c.t.Errorf("%d calls for the late one, want 4", n)
	}
}

// A call of 25 s within a timeout of 60 s was ended by another limit, which was 20 s.
func timeoutAloneBoundsACall(c *caseRig) {
	takes := sized(c.t, "length of a call", 2*time.Second, 25*time.Second)
	c.open(c.name, "http", 2, map[string]any{"method": "PUT", "url": c.serve(func(_ http.ResponseWriter, r *http.Request, _ string, _ int) {
		waitFor(r.Context(), takes)
	})}, func(cfg *channels.Config) { cfg.Timeout = connectors.Duration(time.Minute) })
	c.ends(c.push("k", 1, `{}`), events.Delivered)
	if n := len(c.seen("k")); n != 1 {
		c.t.Errorf("%d calls, want 1", n)
	}
}

// The target is there once it has refused each of the keys: little is published, so no
// count of refusals would show that it is not the updates' fault.
func targetIsDeployed(c *caseRig) {
	const keys = 5
	there := func() bool {
		for i := range keys {
			if len(c.seen(fmt.Sprint("k", i))) == 0 {
				return false
			}
		}
		return true
	}
	c.open(c.name, "http", 3, map[string]any{"method": "PUT", "url": c.serve(func(w http.ResponseWriter, _ *http.Request, _ string, nth int) {
		if nth == 1 || !there() {
			w.WriteHeader(http.StatusNotFound)
		}
	})})
	var updates []events.Update
	for i := range keys {
		updates = append(updates, c.push(fmt.Sprint("k", i), 1, `{}`))
	}
	for _, u := range updates {
		c.ends(u, events.Delivered)
	}
}

func throttledInTheBody(c *caseRig) {
	c.open(c.name, "http", 3, map[string]any{
		"answers": []any{
			map[string]any{"when": `.body.errors // [] | any(.extensions.code == "THROTTLED")`, "class": "throttled"},
			map[string]any{"when": ".body.data.userErrors // [] | length > 0", "class": "permanent"},
		},
		"url": c.serve(func(w http.ResponseWriter, _ *http.Request, key string, nth int) {
			answer := `{"data": {"userErrors": []}}`
			if key == "bad" {
				answer = `{"data": {"userErrors": ["the title is too long"]}}`
			} else if nth <= 4 {
				answer = `{"errors": [{"extensions": {"code": "THROTTLED"}}]}`
			}
			_, _ = fmt.Fprint(w, answer)
		}),
	})
	busy, bad := c.push("k", 1, `{}`), c.push("bad", 1, `{}`)
	if ack := c.ends(busy, events.Delivered); len(c.seen("k")) != 5 {
		c.t.Errorf("%d calls, want 5: %+v", len(c.seen("k")), ack)
	}
	c.ends(bad, events.DeadLettered)
	if n := len(c.seen("bad")); n != 1 {
		c.t.Errorf("%d calls for what is never taken, want 1", n)
	}
}

// Nobody can tell two keys that always fail from a target that is down. People are told, may
// end one of them, and the other one ends by itself once a third key gets through.
func twoKeysFailAlone(c *caseRig) {
	c.open(c.name, "http", 3, map[string]any{"method": "PUT", "url": c.serve(func(w http.ResponseWriter, _ *http.Request, key string, _ int) {
		if key == "one" || key == "two" {
			w.WriteHeader(http.StatusInternalServerError)
		}
	})})
	one, two := c.push("one", 1, `{}`), c.push("two", 1, `{}`)
	testkit.Eventually(c.t, "status says that nobody gets through, since when, and which keys fail", func() bool {
		out := c.extsync("status", c.name, "--interval", "200ms").ok(c.t)
		return strings.Contains(out, "nobody gets through since 20") &&
			(strings.Contains(out, "failing: one, two") || strings.Contains(out, "failing: two, one"))
	})
	c.extsync("key", "give-up", c.name, "one", "--yes").ok(c.t)
	if ack := c.ends(one, events.DeadLettered); ack.Code != events.CodeGivenUp {
		c.t.Errorf("given up as %+v", ack)
	}
	if ack := c.ends(c.push("three", 1, `{}`), events.Delivered); ack.Attempts != 1 {
		c.t.Errorf("not at the first attempt: %+v", ack)
	}
	if ack := c.ends(two, events.DeadLettered); ack.Code != "500" {
		c.t.Errorf("it has ended as %+v", ack)
	}
}

// Whoever changes a record must say which one he has seen.
func etagGoesWithTheNextRequest(c *caseRig) {
	var mu sync.Mutex
	held := map[string]string{}
	address := c.serve(func(w http.ResponseWriter, r *http.Request, key string, _ int) {
		mu.Lock()
		defer mu.Unlock()
		tag := held[key]
		if r.Method != http.MethodGet {
			if tag != "" && r.Header.Get("If-Match") != tag {
				w.Header().Set("ETag", tag)
				w.WriteHeader(http.StatusPreconditionFailed)
				return
			}
			tag = fmt.Sprintf("%q", r.Header.Get("ce-entityversion"))
			held[key] = tag
		}
		w.Header().Set("ETag", tag)
	})
	c.open(c.name, "http", 3, map[string]any{
		"method": "PUT", "url": address,
		"create": map[string]any{"headers": map[string]any{"If-None-Match": "*"}},
		"update": map[string]any{"headers": map[string]any{"If-Match": "{ref.etag}"}},
		"answers": []any{map[string]any{
			"when": ".status < 300 and .headers.etag != null", "class": "ok", "remember": map[string]any{"etag": ".headers.etag"},
		}},
	})
	for version := int64(1); version <= 3; version++ {
		c.ends(c.push("k", version, fmt.Sprintf(`{"a":%d}`, version)), events.Delivered)
	}
	calls := c.seen("k")
	if len(calls) != 3 {
		c.t.Fatalf("%d calls, want 3", len(calls))
	}
	for i, want := range []string{"", `"1"`, `"2"`} {
		if got := calls[i].header.Get("If-Match"); got != want {
			c.t.Errorf("version %d was sent with If-Match %s, want %s", i+1, got, want)
		}
	}
}

func streamIsMadeAgain(c *caseRig) {
	c.open(c.name, "http", 3, map[string]any{"method": "PUT", "url": c.serve(func(http.ResponseWriter, *http.Request, string, int) {})})
	c.ends(c.push("k", 1, `{}`), events.Delivered)
	file := filepath.Join(c.t.TempDir(), "channels.yaml")
	c.must(os.WriteFile(file, []byte(c.extsync("channels", "show", c.name).ok(c.t)), 0o600))
	stream := wire.UpdateStream(c.names, events.ToChannel(c.name))
	c.must(c.js.DeleteStream(c.t.Context(), stream))

	if e := c.extsync("push", c.name, "k", "2", "--data", "{}").run(c.t); e.code == cli.ExitOK {
		c.t.Errorf("published without a stream: %+v", e)
	}
	storage := []string{"--storage-dead-bytes", "64MiB", "--storage-parked-bytes", "64MiB", "--storage-ack-bytes", "64MiB"} // as the rig's
	if e := c.extsync(append([]string{"doctor"}, storage...)...).run(c.t); !strings.Contains(e.out, stream+": is missing") {
		c.t.Errorf("doctor does not find it:\n%s%s", e.out, e.err)
	}
	e := c.extsync(append([]string{"channels", "apply", "-f", file}, storage...)...).run(c.t)
	if !strings.Contains(e.out, stream+": was gone, is made again empty") {
		c.t.Fatalf("apply: %+v", e)
	}
	c.extsync("push", c.name, "k", "2", "--data", "{}", "--wait", "30s").ok(c.t)
	if n := len(c.seen("k")); n != 2 {
		c.t.Errorf("the target has seen %d calls, want 2", n)
	}
}

func compressedAnswerIsRead(c *caseRig) {
	c.open(c.name, "http", 3, map[string]any{
		"answers": []any{
			map[string]any{"when": ".body.ok == false", "class": "permanent"},
			map[string]any{"when": ".body.ok != true", "class": "transient"},
		},
		"url": c.serve(func(w http.ResponseWriter, _ *http.Request, key string, _ int) {
			w.Header().Set("Content-Encoding", "gzip")
			zip := gzip.NewWriter(w)
			_, _ = fmt.Fprintf(zip, `{"ok": %t}`, key == "k")
			_ = zip.Close()
		}),
	})
	good, bad := c.push("k", 1, `{}`), c.push("refused", 1, `{}`)
	c.ends(good, events.Delivered)
	c.ends(bad, events.DeadLettered)
	for _, key := range []string{"k", "refused"} {
		if n := len(c.seen(key)); n != 1 {
			c.t.Errorf("%d calls for %s, want 1", n, key)
		}
	}
}
