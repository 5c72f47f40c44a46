package integration

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/hms-utl/extsync/internal/standing"
	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
	"github.com/hms-utl/extsync/pkg/why"
)

// byKey is a target that answers with the status at the beginning of the key, such as
// 503-a. Of keys that end with "newer" it holds version 99, of those with "same" the one that
// it is given.
func (r *rig) byKey() map[string]any {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		status := http.StatusNoContent
		key := strings.TrimPrefix(req.URL.Path, "/")
		_, _ = fmt.Sscanf(key, "%d-", &status)
		switch {
		case strings.HasSuffix(key, "newer"):
			w.Header().Set("Ce-Entityversion", "99")
		case strings.HasSuffix(key, "same"):
			w.Header().Set("Ce-Entityversion", req.Header.Get("Ce-Entityversion"))
		}
		w.WriteHeader(status)
	}))
	r.t.Cleanup(srv.Close)
	return map[string]any{"url": srv.URL + "/{key}", "allow_cidrs": []string{"127.0.0.0/8"}}
}

func (r *rig) put(key string, version int64, payload string) {
	r.t.Helper()
	_, err := r.pub.Publish(r.t.Context(), events.Update{
		Channel: "c", Key: key, Version: versioning.Must(versioning.Number(version)), Payload: []byte(payload),
	})
	r.must(err)
}

// stands is what get says of a key in channel c.
func (r *rig) stands(key string) (sync, health, code, advice string) {
	r.t.Helper()
	var doc struct {
		Channels []struct {
			Sync, Health string
			Why          struct{ Code, Advice string }
		}
	}
	r.extsync("get", "c", key, "--json").decode(r.t, &doc)
	w := doc.Channels[0]
	return w.Sync, w.Health, w.Why.Code, w.Why.Advice
}

// TestGetSaysWhy: real workers bring about what can become of a key, and get, its text, the list
// of the HTTP API's process and wait say how it stands.
func TestGetSaysWhy(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.channel("c", channels.Latest, "http", r.byKey(), func(c *channels.Config) {
		c.Mapping, c.Filter = `if .bad then error("no") else . end`, `.skip | not`
		c.Retry.MaxBackoff = connectors.Duration(100e6)
	})
	r.worker("w1")
	subject := r.names.Update(events.ToChannel("c"), "garbled")
	r.must(r.nc.PublishMsg(&nats.Msg{Subject: subject, Data: []byte("x")}))
	want := map[string][3]string{
		"fine":      {"in_sync", "ok", ""},
		"skipped":   {"filtered", "ok", ""},
		"badly":     {"behind", "dead", "mapping_failed"},
		"422-a":     {"behind", "dead", "dead_lettered"},
		"409-same":  {"behind", "dead", "conflict"},
		"409-newer": {"ahead", "ok", "target_newer"},
		"503-a":     {"behind", "retrying", "target_error"},
		"404-a":     {"behind", "retrying", "unready"},
		"403-a":     {"behind", "retrying", "suspect"},
		"429-a":     {"behind", "retrying", "rate_limited"},
		"garbled":   {"unknown", "dead", "malformed"},
	}
	version := int64(0)
	all := func(payloads map[string]string) {
		for key := range want {
			if key != "garbled" {
				version++
				r.put(key, version, payloads[key])
			}
		}
	}
	all(map[string]string{
		"fine": `{}`, "skipped": `{"skip":true}`, "badly": `{"bad":true}`, "422-a": `{}`, "409-same": `{}`, "409-newer": `{}`,
		"503-a": `{}`, "404-a": `{}`, "403-a": `{}`, "429-a": `{}`,
	})
	testkit.Eventually(t, "each key to stand as its target has answered", func() bool {
		version++
		r.put("other", version, `{}`) // somebody gets through: what fails fails alone
		for key, w := range want {
			sync, health, code, advice := r.stands(key)
			if got := [3]string{sync, health, code}; got != w || (advice == "") != (code == "") {
				t.Logf("%s: %v, %q; want %v", key, got, advice, w)
				return false
			}
		}
		return true
	})
	mustSay(t, "get", r.extsync("get", "c", "422-a").ok(t), "behind", "dead", "dead_lettered: 422", "extsync dead show LETTER")
	r.put("503-a", 1000, `{}`)
	e := r.extsync("wait", "c", "503-a@999", "--timeout", "1s").run(t)
	mustSay(t, "wait for what was overtaken", e.err, "superseded: version 999 was overtaken by 1000", "target_error")

	_, err := r.registry.Pause(t.Context(), "c")
	r.must(err)
	later := int64(1000)
	testkit.Eventually(t, "an update of a paused channel to wait for its resumption", func() bool {
		later++
		r.put("fine", later, `{}`) // a worker that has not heard of the pause delivers the first ones
		sync, health, code, _ := r.stands("fine")
		return sync == "behind" && health == "paused" && code == "paused"
	})
}

// whole is how the keys of channel c stand by ledger and stream, read whole.
func (r *rig) whole() why.Counts {
	r.t.Helper()
	e, err := r.registry.Get(r.t.Context(), "c")
	r.must(err)
	facts := map[string]standing.Facts{}
	q := wire.StreamQuery{Stream: wire.KVStream(wire.LedgerBucket(r.names)), Subject: wire.LedgerRecords(r.names, "c")}
	for msg, err := range wire.ReadStream(r.t.Context(), r.js, q) {
		r.must(err)
		rec, err := wire.DecodeRecord(msg.Data)
		r.must(err)
		facts[wire.KeyOfSubject(msg.Subject)] = standing.Facts{Entry: e, Record: rec}
	}
	for msg, err := range wire.ReadStream(r.t.Context(), r.js, wire.StreamQuery{Stream: wire.UpdateStream(r.names, events.ToChannel("c")), Subject: ">"}) {
		r.must(err)
		u, err := wire.Decode(r.names, msg.Subject, msg.Header, msg.Data)
		r.must(err)
		f := facts[wire.KeyOfSubject(msg.Subject)]
		f.Entry, f.Head = e, u.Tag()
		facts[wire.KeyOfSubject(msg.Subject)] = f
	}
	var out why.Counts
	for _, f := range facts {
		k := standing.JudgeKey(f)
		s := why.Standing{Sync: k.Sync, Health: k.Health}
		if k.Why != nil {
			s.Code = k.Why.Code
		}
		out.Add(s, 1)
	}
	return out
}

var (
	entitiesSample  = regexp.MustCompile(`(?m)^extsync_entities\{channel="c",health="(\w+)",sync="(\w+)"\} (\d+)$`)
	notNewestSample = regexp.MustCompile(`(?m)^extsync_not_newest\{channel="c",why="(\w+)"\} (\d+)$`)
)

// scraped adds up what workers measure of channel c, by sync and health, and by reason.
func scraped(t *testing.T, crew ...*lookedAt) map[string]int64 {
	t.Helper()
	out := map[string]int64{}
	add := func(name, number string) {
		var n int64
		_, err := fmt.Sscan(number, &n)
		testkit.Must(t, err)
		if n > 0 {
			out[name] += n
		}
	}
	for _, w := range crew {
		_, body := w.get(w.metrics)
		for _, m := range entitiesSample.FindAllStringSubmatch(body, -1) {
			add(m[2]+" "+m[1], m[3])
		}
		for _, m := range notNewestSample.FindAllStringSubmatch(body, -1) {
			add(m[1], m[2])
		}
	}
	return out
}

// inMetrics returns what workers should measure of what was counted.
func inMetrics(all why.Counts) map[string]int64 {
	out := map[string]int64{}
	for _, c := range all {
		out[string(c.Sync)+" "+string(c.Health)] += c.Keys
		if c.Why != "" {
			out[string(c.Why)] += c.Keys
		}
	}
	return out
}

// TestEntitiesAreCountedAsTheyStand: after a random history with workers that are killed, and
// right after a hand-over, the metrics have the same keys as ledger and stream, read whole.
func TestEntitiesAreCountedAsTheyStand(t *testing.T) {
	t.Parallel()
	keys, rounds := sized(t, "keys", 120, 2000), sized(t, "rounds", 6, 40)
	seed := rand.Uint64() //nolint:gosec // not a secret
	t.Logf("seed %d", seed)
	dice := rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // not a secret
	r := newRig(t)
	r.channel("c", channels.Latest, "http", r.byKey(), func(c *channels.Config) { c.Filter = `.skip | not` })
	crew := []*lookedAt{r.lookAt("w0"), r.lookAt("w1")}
	kinds := []string{"200-", "200-", "200-", "200-", "422-", "409-", "503-", "404-"}
	version := int64(0)
	for round := range rounds {
		for range keys {
			version++
			n := dice.IntN(keys)
			r.put(fmt.Sprint(kinds[n%len(kinds)], n), version, []string{`{}`, `{}`, `{"skip":true}`}[dice.IntN(3)])
		}
		if round%2 == 1 {
			n := dice.IntN(len(crew))
			crew[n].Kill()
			crew[n] = r.lookAt(fmt.Sprint("w", round+2))
		}
	}
	same := func(when string) {
		t.Helper()
		var got, want map[string]int64
		// An open circuit tries seldom, and may find those first who never get through.
		testkit.EventuallyWithin(t, 2*testkit.Patience, when+": metrics to have what ledger and stream have", func() bool {
			if got, want = scraped(t, crew...), inMetrics(r.whole()); got["circuit_open"] > 0 && want["pending"] == 0 {
				for n := range 16 { // at each worker somebody gets through: what fails fails alone
					version++
					r.put(fmt.Sprint("200-last", n), version, `{}`)
				}
			}
			if fmt.Sprint(got) != fmt.Sprint(want) {
				t.Logf("%s: measured %v, whole %v", when, got, want)
				return false
			}
			return true
		})
		if want["in_sync ok"] == 0 || want["dead_lettered"] == 0 || want["filtered ok"] == 0 {
			t.Errorf("%s: a history without one of the usual endings: %v", when, want)
		}
	}
	same("after kills")
	crew[0].Terminate()
	crew = crew[1:]
	same("after a hand-over")
}

// The list of reasons in docs/operations.md is made of the code.
func TestReasonsAreDocumented(t *testing.T) {
	path := filepath.Join("..", "..", "docs", "operations.md")
	text, err := os.ReadFile(path)
	testkit.Must(t, err)
	for _, code := range why.Codes() {
		row := fmt.Sprintf("| `%s` | %s | %s | %s |\n", code, code.Health(), code.What(), code.Advice())
		if !strings.Contains(string(text), row) {
			t.Errorf("docs/operations.md lacks the row\n%s", row)
		}
	}
}
