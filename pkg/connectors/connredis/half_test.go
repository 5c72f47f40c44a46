package connredis_test

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/connectors"
)

// What fails in the middle of a write is done by the attempt that is made again: with the
// version alone it would be taken for one that was made.
func TestWriteThatFailsHalfwayIsFinished(t *testing.T) {
	for _, layout := range layouts() {
		t.Run(layout, func(t *testing.T) {
			d := newTarget(t, layout+"tombstone_ttl: 1h\n")
			c := d.open(t)
			ttl := func() time.Duration { return d.admin.PTTL(t.Context(), d.hash("k")).Val() }
			without := func(command string, a connectors.Attempt) {
				t.Helper()
				d.do(t, "ACL", "SETUSER", username, "-"+command)
				want(t, apply(t, c, a)[0], connectors.Misconfigured, "NOPERM")
				d.do(t, "ACL", "SETUSER", username, "+"+command)
				want(t, apply(t, c, a)[0], connectors.OK, "")
			}
			want(t, apply(t, c, attempt("k", 1, "{}"))[0], connectors.OK, "")
			without("pexpire", attempt("k", 2, ""))
			if got := ttl(); got <= 0 {
				t.Errorf("the tombstone stays (%v)", got)
			}
			without("persist", attempt("k", 3, `{"n":3}`))
			if got := ttl(); got > 0 {
				t.Errorf("the upsert is forgotten in %v", got)
			}
			without("hset", attempt("k", 4, `{"n":4}`))
			if got := d.payload(t, "k"); got != `{"n":4}` {
				t.Errorf("the payload is %s", got)
			}
		})
	}
}

// A key whose name is that of another one's hash has another name.
func TestKeyIsNotAnothersHash(t *testing.T) {
	for _, p := range []string{"''", "'{p}:'", "'{'"} {
		t.Run(p, func(t *testing.T) {
			d := newTarget(t, "layout: value\nprefix: "+p+"\n")
			d.do(t, "ACL", "SETUSER", username, "allkeys")
			c := d.open(t)
			begins := strings.Trim(p, "'")
			var all []connectors.Attempt
			for _, key := range []string{"a", "{a}", "a:sync", "a:sync:", "a::sync", "a::sync:", "{a}:sync", "{a}::sync", "{" + begins + "a}:sync", "{" + begins + "a}", "a}:sync", "a}"} {
				all = append(all, attempt(key, 1, `"`+key+`"`))
			}
			for _, res := range apply(t, c, all...) {
				want(t, res, connectors.OK, "")
			}
			found, err := c.Compare(t.Context(), all)
			testkit.Must(t, err)
			for i, f := range found {
				if f.Version != all[i].Version || f.Digest != all[i].Digest || f.Changed != nil {
					t.Errorf("%s: %+v", all[i].Key, f)
				}
			}
		})
	}
}

// What somebody else has put there is not read if it is larger than what is compared.
func TestCompareReadsNoMoreThanWasWritten(t *testing.T) {
	for _, layout := range layouts() {
		t.Run(layout, func(t *testing.T) {
			d := newTarget(t, layout)
			c := d.open(t)
			large := strings.Repeat("x", 8<<20)
			var all []connectors.Attempt
			for _, key := range []string{"a", "b", "c", "d"} {
				a := attempt(key, 1, "{}")
				all = append(all, a)
				want(t, apply(t, c, a)[0], connectors.OK, "")
				if d.value {
					d.do(t, "SET", prefix+key, large)
				} else {
					d.do(t, "HSET", prefix+key, "data", large)
				}
			}
			before := d.output(t)
			found, err := c.Compare(t.Context(), all)
			testkit.Must(t, err)
			for i, f := range found {
				if len(f.Changed) == 0 {
					t.Errorf("%s is said not to have changed", all[i].Key)
				}
			}
			if sent := d.output(t) - before; sent > 1<<20 {
				t.Errorf("the server has sent %d bytes", sent)
			}
		})
	}
}

// output returns how many bytes the server has sent since it runs.
func (d *target) output(t *testing.T) (bytes int64) {
	t.Helper()
	info, err := d.admin.Info(t.Context(), "stats").Result()
	testkit.Must(t, err)
	for line := range strings.Lines(info) {
		if n, ok := strings.CutPrefix(strings.TrimSpace(line), "total_net_output_bytes:"); ok {
			bytes, err = strconv.ParseInt(n, 10, 64)
			testkit.Must(t, err)
			return bytes
		}
	}
	t.Fatal("the server does not say how many bytes it has sent")
	return 0
}
