package connredis_test

import (
	"bytes"
	"context"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connectortest"
	"github.com/hms-utl/extsync/pkg/events"
)

// layouts are configurations of both.
func layouts() []string { return []string{"layout: hash\n", "layout: value\n"} }

func TestPayloadIsWhereReadersLook(t *testing.T) {
	for _, layout := range layouts() {
		t.Run(layout, func(t *testing.T) {
			d := newTarget(t, layout)
			c := d.open(t)
			raw := attempt("raw", 1, string([]byte{0, 0xff, '\r', '\n', '$'}))
			for _, a := range []connectors.Attempt{attempt("p-1", 7, `{"a":1}`), raw, attempt("empty", 1, "x"), attempt("large", 1, strings.Repeat("x", 1<<20))} {
				want(t, apply(t, c, a)[0], connectors.OK, "")
				if got := d.payload(t, a.Key); got != string(a.Payload) {
					t.Errorf("%s: the payload is %.40q", a.Key, got)
				}
			}
			fields := d.admin.HGetAll(t.Context(), d.hash("p-1")).Val()
			if v := fields["v"]; v != "0000000000000000007" || fields["op"] != "upsert" || len(fields["d"]) != 64 {
				t.Errorf("the hash has %v", fields)
			}
			want(t, apply(t, c, attempt("p-1", 8, ""))[0], connectors.OK, "")
			if got := d.payload(t, "p-1"); got != "" {
				t.Errorf("after a delete the payload is %q", got)
			}
		})
	}
}

// Numbers of Lua are doubles: next to 2^53 and 2^63 they are not what they were.
func TestVersionsThatDoublesCannotHold(t *testing.T) {
	d := newTarget(t, "")
	c := d.open(t)
	for _, most := range []int64{1<<53 + 1, math.MaxInt64} {
		for _, key := range []string{"up", "down"} {
			newer, older := attempt(key, most, `{"n":1}`), attempt(key, most-1, `{"n":2}`)
			if key == "up" {
				want(t, apply(t, c, older)[0], connectors.OK, "")
			}
			want(t, apply(t, c, newer)[0], connectors.OK, "")
			want(t, apply(t, c, older)[0], connectors.Stale, "stale")
			if got := d.held(t, key)[key].Version; got != newer.Version {
				t.Errorf("%s: the server holds %s", key, got)
			}
		}
	}
}

func TestVersionOfTheOtherKind(t *testing.T) {
	d := newTarget(t, "")
	c := d.open(t)
	numbered, timed := attempt("k", 7, "{}"), attempt("k", 1, "{}")
	timed.Version = testkit.Version(t, "2026-03-01T12:00:00.5Z")
	want(t, apply(t, c, numbered)[0], connectors.OK, "")
	want(t, apply(t, c, timed)[0], connectors.Conflict, "version-kind")
	numbered.Key, timed.Key = "t", "t"
	want(t, apply(t, c, timed)[0], connectors.OK, "")
	want(t, apply(t, c, numbered)[0], connectors.Conflict, "version-kind")
}

func TestWhatThePlatformDidNotWrite(t *testing.T) {
	for _, layout := range layouts() {
		t.Run(layout, func(t *testing.T) {
			d := newTarget(t, layout)
			strict := d.open(t)
			d.config += "adopt: true\n"
			adopting := d.open(t)
			there := []any{"HSET", prefix + "k", "data", "theirs"}
			if d.value {
				there = []any{"SET", prefix + "k", "theirs"}
			}
			d.do(t, there...)
			want(t, apply(t, strict, attempt("k", 1, "ours"))[0], connectors.Conflict, "foreign")
			if got := d.payload(t, "k"); got != "theirs" {
				t.Errorf("the payload is %q", got)
			}
			want(t, apply(t, adopting, attempt("k", 1, "ours"))[0], connectors.OK, "")
			if got := d.payload(t, "k"); got != "ours" {
				t.Errorf("the payload is %q", got)
			}
			for _, v := range []string{"", "7", "-000000000000000007", "99999999999999999999", "00000000000000x0007", strings.Repeat("9", 19), "20261301000000000000000"} {
				d.do(t, "HSET", d.hash("k"), "v", v)
				want(t, apply(t, adopting, attempt("k", 2, "ours"))[0], connectors.Conflict, "foreign")
			}
		})
	}
}

func TestTombstonesAreForgottenInTime(t *testing.T) {
	for _, layout := range layouts() {
		t.Run(layout, func(t *testing.T) {
			d := newTarget(t, layout+"tombstone_ttl: 1h\n")
			c := d.open(t)
			ttl := func() time.Duration { return d.admin.PTTL(t.Context(), d.hash("k")).Val() }
			want(t, apply(t, c, attempt("k", 1, "{}"))[0], connectors.OK, "")
			if got := ttl(); got > 0 {
				t.Errorf("an upsert is forgotten in %v", got)
			}
			want(t, apply(t, c, attempt("k", 2, ""))[0], connectors.OK, "")
			if got := ttl(); got <= 0 || got > time.Hour {
				t.Errorf("a delete is forgotten in %v", got)
			}
			want(t, apply(t, c, attempt("k", 3, "{}"))[0], connectors.OK, "")
			if got := ttl(); got > 0 {
				t.Errorf("an upsert after a delete is forgotten in %v", got)
			}
		})
	}
}

func TestOneOfABatch(t *testing.T) { oneOfABatch(t, newTarget(t, "")) }

// oneOfABatch: one key of a batch is of another type, and its neighbours get through.
func oneOfABatch(t *testing.T, d *target) {
	c := d.open(t)
	d.do(t, "SET", prefix+"b", "x")
	var batch []connectors.Attempt
	for _, key := range []string{"a", "b", "c", "d", "e", "f"} {
		batch = append(batch, attempt(key, 1, "{}"))
	}
	for i, res := range apply(t, c, batch...) {
		if batch[i].Key == "b" {
			want(t, res, connectors.Conflict, "WRONGTYPE")
			if !strings.HasPrefix(res.Response, "WRONGTYPE ") {
				t.Errorf("the response is %q", res.Response)
			}
			continue
		}
		want(t, res, connectors.OK, "")
	}
}

// slotless are keys whose two names a cluster would put into two slots.
func slotless() []string { return []string{"a}b", "{}a", "}", "{}{a}"} }

func TestKeyWithoutASlotIsFineWhereThereAreNone(t *testing.T) {
	c := newTarget(t, "layout: value\n").open(t)
	for _, key := range slotless() {
		want(t, apply(t, c, attempt(key, 1, "{}"))[0], connectors.OK, "")
	}
}

func TestReadAndCompare(t *testing.T) {
	for _, layout := range layouts() {
		t.Run(layout, func(t *testing.T) {
			d := newTarget(t, layout)
			c := d.open(t)
			same, changed, gone, back, old := attempt("same", 1, "{}"), attempt("changed", 1, "{}"), attempt("gone", 1, "{}"), attempt("back", 2, ""), attempt("old", 2, "{}")
			for _, res := range apply(t, c, same, changed, gone, back, old) {
				want(t, res, connectors.OK, "")
			}
			put := func(key string) {
				if d.value {
					d.do(t, "SET", prefix+key, "theirs")
				} else {
					d.do(t, "HSET", prefix+key, "data", "theirs")
				}
			}
			put("changed")
			put("back")
			put("foreign")
			d.do(t, "RPUSH", d.hash("list"), "x")
			if d.value {
				d.do(t, "DEL", prefix+"gone")
			} else {
				d.do(t, "HDEL", prefix+"gone", "data")
			}
			old.Version = testkit.Number(9)
			all := []connectors.Attempt{same, changed, gone, back, old, attempt("foreign", 1, ""), attempt("list", 1, "{}"), attempt("never", 1, "{}")}
			found, err := c.Compare(t.Context(), all)
			testkit.Must(t, err)
			for i, wanted := range [][]string{nil, {"payload"}, {"payload"}, {"payload"}, nil, {"payload"}, nil, nil} {
				if !slices.Equal(found[i].Changed, wanted) {
					t.Errorf("%s: %v has changed, want %v", all[i].Key, found[i].Changed, wanted)
				}
			}
			held, err := c.Read(t.Context(), []string{"back", "foreign", "list", "never", "same"})
			testkit.Must(t, err)
			if held[0].Op != events.Delete || !held[1].IsZero() || !held[2].IsZero() || !held[3].IsZero() || held[4].Digest != same.Digest {
				t.Errorf("the server is said to hold %v", held)
			}
			changed.Again = true
			want(t, apply(t, c, changed)[0], connectors.OK, "")
			if got := d.payload(t, "changed"); got != "{}" {
				t.Errorf("after it was written again the payload is %q", got)
			}
		})
	}
}

func TestPreviewSendsNothing(t *testing.T) {
	c := openWith(t, connectors.Host{}.Env(connectortest.Channel).ForPreview("***"), []byte("url: rediss://cache.example\npassword: ${env:PW}\n"))
	p, err := c.Preview(t.Context(), attempt("k", 7, `{"a":1}`))
	testkit.Must(t, err)
	for _, part := range []any{prefix + "k", "0000000000000000007", `{"a":1}`} {
		if !slices.Contains(p.Parameters, part) {
			t.Errorf("the preview does not show %q: %v", part, p.Parameters)
		}
	}
	want(t, c.Apply(t.Context(), []connectors.Attempt{attempt("k", 7, "{}")})[0], connectors.Misconfigured, "address_denied")
}

func TestForgottenScript(t *testing.T) { forgottenScript(t, newTarget(t, "")) }

// forgottenScript: the script is sent again to a server that has forgotten it.
func forgottenScript(t *testing.T, d *target) {
	c := d.open(t)
	for version := range int64(3) {
		var batch []connectors.Attempt
		for _, key := range []string{"a", "b", "c", "d", "e", "f"} {
			batch = append(batch, attempt(key, version+1, "{}"))
		}
		for _, res := range apply(t, c, batch...) {
			want(t, res, connectors.OK, "")
		}
		d.all(t, "SCRIPT FLUSH")
	}
}

// A call that is cancelled ends, whatever the server does, and keeps nothing of the payload.
func TestCancelledCallEnds(t *testing.T) {
	d := newTarget(t, "")
	slow := env()
	slow.Timeout = time.Hour
	c := openWith(t, slow, d.lines())
	want(t, apply(t, c, attempt("k", 1, "{}"))[0], connectors.OK, "")
	d.proxies[0].Freeze()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan connectors.Result, 1)
	go func() {
		done <- c.Apply(ctx, []connectors.Attempt{attempt("k", 2, string(bytes.Repeat([]byte("x"), 1<<16)))})[0]
	}()
	cancel()
	select {
	case res := <-done:
		want(t, res, connectors.Transient, "canceled")
	case <-time.After(testkit.Patience):
		t.Fatal("the call goes on")
	}
	d.proxies[0].Heal()
	want(t, apply(t, c, attempt("k", 3, "{}"))[0], connectors.OK, "")
}
