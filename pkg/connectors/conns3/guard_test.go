package conns3

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/events"
)

func attempt(key string, version int64, payload string) connectors.Attempt {
	u := events.Update{Channel: "conformance", Key: key, Version: testkit.Number(version), Payload: []byte(payload)}
	if payload == "" {
		u.Op = events.Delete
	}
	u = u.WithDefaults()
	return connectors.Attempt{Update: u, Digest: u.Digest(), Number: 1}
}

func apply(t testing.TB, c *connectors.Opened, a connectors.Attempt) connectors.Result {
	t.Helper()
	return c.Apply(t.Context(), []connectors.Attempt{a})[0]
}

func wantClass(t testing.TB, what string, res connectors.Result, class connectors.Class, code string) {
	t.Helper()
	if res.Class != class || res.Code != code {
		t.Fatalf("%s: class %s, code %q (%v), want %s, %q", what, res.Class, res.Code, res.Err, class, code)
	}
}

// TestFrozenWriter: a writer that is frozen after it has read does not write over what
// came meanwhile, also if the content that it read is there again. A store whose ETags are
// hashes of the content cannot tell: with content bytes the older version wins, which is
// why the guard is declared as ledger there.
func TestFrozenWriter(t *testing.T) {
	t.Parallel()
	s := startStore(t)
	for _, c := range []struct {
		name, content    string
		read, late, then string // contents of versions 5, 6 and 7
		want             int64
	}{
		{"another content", "bytes", `{"n":5}`, `{"n":6}`, `{"n":7}`, 7},
		{"the same content, bytes", "bytes", `{"n":5}`, `{"n":6}`, `{"n":5}`, 6},
		{"the same content", "json", `{"n":5}`, `{"n":6}`, `{"n":5}`, 7},
		{"tombstones", "json", "", `{"n":6}`, "", 7},
	} {
		t.Run(c.name, func(t *testing.T) {
			config := s.config("content: " + c.content + "\n")
			frozen, other := opened(t, config), opened(t, config)
			wantClass(t, "version 5", apply(t, other, attempt(c.name, 5, c.read)), connectors.OK, "")
			puts := 0
			s.front.Set(func() {
				s.front.Instead = func(_ http.ResponseWriter, r *http.Request) bool {
					if r.Method != http.MethodPut {
						return false
					}
					if puts++; puts == 1 { // the late one has read, and writes only now
						wantClass(t, "version 7", apply(t, other, attempt(c.name, 7, c.then)), connectors.OK, "")
					}
					return false
				}
			})
			res := apply(t, frozen, attempt(c.name, 6, c.late))
			s.front.Set(func() { s.front.Instead = nil })
			if c.want == 7 {
				wantClass(t, "version 6", res, connectors.Stale, "stale")
			}
			if got := s.read(t, c.name)[c.name].Version; got != testkit.Number(c.want) {
				t.Errorf("the store holds %s, want %d", got, c.want)
			}
		})
	}
}

// TestHeadOfTwoObjects: a store that reads metadata and ETag one after the other answers
// HEAD with the metadata of version 5 and the ETag of version 7 if that is written
// meanwhile. A writer of version 6 that took the two for one object would put it in the
// place of version 7. versitygw 1.8.0 is such a store.
func TestHeadOfTwoObjects(t *testing.T) {
	t.Parallel()
	s := startStore(t)
	for name, c := range map[string]struct {
		late   int64
		during []int64 // written while the late writer asks
	}{
		"once":  {6, []int64{7}},
		"twice": {8, []int64{7, 9}},
	} {
		t.Run(name, func(t *testing.T) {
			late, other := opened(t, s.config("")), opened(t, configFor("http://"+s.address, ""))
			write := func(v int64) {
				wantClass(t, fmt.Sprint("version ", v), apply(t, other, attempt(name, v, fmt.Sprintf(`{"n":%d}`, v))), connectors.OK, "")
			}
			write(5)
			during := c.during
			s.front.Set(func() {
				s.front.Rewrite = func(answer *http.Response) {
					if answer.Request.Method == http.MethodHead && len(during) > 0 {
						write(during[0])
						during = during[1:]
						answer.Header.Set("ETag", s.ask(t, http.MethodHead, objectPath(t, name), nil, "").header.Get("ETag"))
					}
				}
			})
			res := apply(t, late, attempt(name, c.late, `{"late":true}`))
			s.front.Heal()
			wantClass(t, "the late version", res, connectors.Stale, "stale")
			newest := testkit.Number(c.during[len(c.during)-1])
			if got := s.read(t, name)[name].Version; len(during) > 0 || got != newest {
				t.Errorf("the store holds %s, want %s; not written: %v", got, newest, during)
			}
		})
	}
}

// TestObjectWithoutMD5: what tells that metadata and ETag are of one object may be missing.
func TestObjectWithoutMD5(t *testing.T) {
	t.Parallel()
	s := startStore(t)
	c, a := opened(t, s.config("")), attempt("k", 5, `{"n":5}`)
	s.put(t, objectPath(t, "k"), http.Header{metaVersion: {"5"}, metaDigest: {a.Digest.String()}, metaOp: {"upsert"}}, `{"n":5}`)
	wantClass(t, "version 4", apply(t, c, attempt("k", 4, `{}`)), connectors.Stale, "stale")
	wantClass(t, "version 5", apply(t, c, a), connectors.OK, "")
	wantClass(t, "version 6", apply(t, c, attempt("k", 6, `{}`)), connectors.OK, "")
	if got := s.read(t, "k")["k"].Version; got != testkit.Number(6) {
		t.Errorf("the store holds %s", got)
	}
}

// TestVanishedObject: an object that is removed between reading and writing is created
// anew, whatever the store says to the condition.
func TestVanishedObject(t *testing.T) {
	t.Parallel()
	s := startStore(t)
	c := opened(t, s.config(""))
	for name, answer := range map[string]func(w http.ResponseWriter, r *http.Request) bool{
		"as AWS says it": func(http.ResponseWriter, *http.Request) bool { return false }, // as the server does
		"as Ceph says it": func(w http.ResponseWriter, _ *http.Request) bool {
			refuse(w, http.StatusPreconditionFailed, "PreconditionFailed")
			return true
		},
	} {
		t.Run(name, func(t *testing.T) {
			wantClass(t, "version 1", apply(t, c, attempt(name, 1, `{}`)), connectors.OK, "")
			removed := false
			s.front.Set(func() {
				s.front.Instead = func(w http.ResponseWriter, r *http.Request) bool {
					if r.Method != http.MethodPut || removed {
						return false
					}
					removed = true
					s.ask(t, http.MethodDelete, objectPath(t, name), nil, "")
					return answer(w, r)
				}
			})
			wantClass(t, "version 2", apply(t, c, attempt(name, 2, `{}`)), connectors.OK, "")
			s.front.Set(func() { s.front.Instead = nil })
			if got := s.read(t, name)[name].Version; !removed || got != testkit.Number(2) {
				t.Errorf("removed %v; the store holds %s", removed, got)
			}
		})
	}
}

// TestForeignObjects: what the platform did not write is a conflict, unless it may be
// taken over.
func TestForeignObjects(t *testing.T) {
	t.Parallel()
	s := startStore(t)
	for name, header := range map[string]http.Header{
		"no version":  {},
		"bad version": {metaVersion: {"seven"}, metaOp: {"upsert"}},
		"bad digest":  {metaVersion: {"7"}, metaDigest: {"x"}, metaOp: {"upsert"}},
		"no op":       {metaVersion: {"7"}},
	} {
		t.Run(name, func(t *testing.T) {
			s.put(t, objectPath(t, name), header, "theirs")
			a := attempt(name, 8, `{"n":8}`)
			wantClass(t, "not adopted", apply(t, opened(t, s.config("")), a), connectors.Conflict, "foreign")
			if got := s.ask(t, http.MethodGet, objectPath(t, name), nil, ""); got.body != "theirs" {
				t.Fatalf("it was written over with %q", got.body)
			}
			wantClass(t, "adopted", apply(t, opened(t, s.config("adopt: true\n")), a), connectors.OK, "")
			if got := s.read(t, name)[name].Version; got != testkit.Number(8) {
				t.Errorf("the store holds %s", got)
			}
		})
	}
}
