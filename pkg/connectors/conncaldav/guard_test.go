package conncaldav_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// What the calendar of a real server shows of an object through its life: an event, its
// change, its cancellation and its return.
func TestLifeOfAnObject(t *testing.T) {
	t.Parallel()
	for name, start := range servers() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCalendar(t, start(t))
			o := c.connect(t, "uid_domain: clinic.example\n")
			const key = "Appointment/7 é"
			check := func(what string, a connectors.Attempt, has ...string) string {
				t.Helper()
				want(t, what, apply(t, o, a), connectors.OK, "")
				object := c.object(t, key)
				for _, line := range has {
					if !strings.Contains(object, line+"\n") {
						t.Errorf("%s: there is no %q in\n%s", what, line, object)
					}
				}
				return object
			}
			uid := "UID:=41ppointment=2f7=20=c3=a9@clinic.example"
			zone := "BEGIN:VTIMEZONE\r\nTZID:Amsterdam\r\nBEGIN:STANDARD\r\nDTSTART:19701025T030000\r\nTZOFFSETFROM:+0200\r\nTZOFFSETTO:+0100\r\nEND:STANDARD\r\nEND:VTIMEZONE\r\n"
			first := event(strings.Repeat("a long subject with é in it, and ", 9), "UID:theirs", "SEQUENCE:77", "X-EXTSYNC-VERSION:99", "BEGIN:VALARM", "ACTION:DISPLAY", "DESCRIPTION:soon", "TRIGGER:-PT15M", "END:VALARM")
			body := strings.Replace(string(first), "BEGIN:VEVENT", zone+"BEGIN:VEVENT", 1)
			body = strings.Replace(body, "DTSTART:20260402T090000Z", "DTSTART;TZID=Amsterdam:20260402T090000", 1)
			body = strings.Replace(body, "DTEND:20260402T093000Z", "DURATION:PT30M", 1)
			made := check("created", attempt(key, 1<<40, []byte(body)), uid, "SEQUENCE:0", "X-EXTSYNC-VERSION:1099511627776", "ACTION:DISPLAY")
			if strings.Contains(made, "theirs") || strings.Count(made, "SEQUENCE:") != 1 || strings.Count(made, "X-EXTSYNC-VERSION:") != 1 {
				t.Errorf("what is not the payload's to say is there:\n%s", made)
			}
			if value(made, "SUMMARY") == "" || !strings.Contains(made, "with é in it") {
				t.Errorf("the subject has not come whole:\n%s", made)
			}
			check("again", attempt(key, 1<<40, []byte(body)), "SEQUENCE:0")
			again := attempt(key, 1<<40, []byte(body))
			again.Again = true
			check("resync", again, "SEQUENCE:1")
			gone := check("cancelled", attempt(key, 1<<40+1, nil), uid, "SEQUENCE:2", "STATUS:CANCELLED", "TRANSP:TRANSPARENT", "DTSTART;TZID=Amsterdam:20260402T090000", "DURATION:PT30M", "TZID:Amsterdam")
			if strings.Contains(gone, "subject") || strings.Contains(gone, "VALARM") {
				t.Errorf("a tombstone says what it was about:\n%s", gone)
			}
			late := apply(t, o, attempt(key, 1<<40, []byte(body)))
			want(t, "late", late, connectors.Stale, "stale")
			check("cancelled later", attempt(key, 1<<40+2, nil), "SEQUENCE:3", "STATUS:CANCELLED", "DTSTART;TZID=Amsterdam:20260402T090000")
			back := check("back", attempt(key, 1<<40+3, event("back")), uid, "SEQUENCE:4", "SUMMARY:back")
			if strings.Contains(back, "CANCELLED") {
				t.Errorf("it is still cancelled:\n%s", back)
			}
			unknown := attempt("unknown", 1, nil)
			want(t, "tombstone", apply(t, o, unknown), connectors.OK, "")
			if got := value(c.object(t, "unknown"), "DTSTART"); got != "19700101T000000Z" {
				t.Errorf("what was never there began at %q", got)
			}
		})
	}
}

// Clients of a calendar change objects, too.
func TestWhatClientsDo(t *testing.T) {
	t.Parallel()
	for name, start := range servers() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCalendar(t, start(t))
			o := c.connect(t, "")
			now := func(key string) string {
				return strings.ReplaceAll(strings.ReplaceAll(c.object(t, key), "\r", ""), "\n", "\r\n")
			}
			// One moves the event, and raises its SEQUENCE: the next version still has a higher one.
			want(t, "1", apply(t, o, attempt("moved", 1, event("one"))), connectors.OK, "")
			c.put(t, nameOf("moved"), strings.Replace(strings.Replace(now("moved"), "SEQUENCE:0", "SEQUENCE:8", 1), "T090000", "T100000", 1))
			want(t, "2", apply(t, o, attempt("moved", 2, event("two"))), connectors.OK, "")
			if object := c.object(t, "moved"); value(object, "SEQUENCE") != "9" || value(object, "SUMMARY") != "two" {
				t.Errorf("after a client's change:\n%s", object)
			}
			// One changes a single occurrence, which is another component of the object.
			want(t, "1", apply(t, o, attempt("series", 1, event("one", "RRULE:FREQ=DAILY;COUNT=3"))), connectors.OK, "")
			occurrence := "BEGIN:VEVENT\r\nUID:" + value(c.object(t, "series"), "UID") + "\r\nRECURRENCE-ID:20260403T090000Z\r\nSEQUENCE:5\r\nDTSTAMP:20260301T080000Z\r\nDTSTART:20260403T110000Z\r\nSUMMARY:later\r\nEND:VEVENT\r\n"
			c.put(t, nameOf("series"), strings.Replace(now("series"), "BEGIN:VEVENT", occurrence+"BEGIN:VEVENT", 1))
			want(t, "1 again", apply(t, o, attempt("series", 1, event("one", "RRULE:FREQ=DAILY;COUNT=3"))), connectors.OK, "")
			want(t, "2", apply(t, o, attempt("series", 2, event("two"))), connectors.OK, "")
			if object := c.object(t, "series"); value(object, "SEQUENCE") != "6" || strings.Contains(object, "later") {
				t.Errorf("after a client's change of an occurrence:\n%s", object)
			}
			// One drops what it does not know.
			want(t, "1", apply(t, o, attempt("dropped", 1, event("one"))), connectors.OK, "")
			c.put(t, nameOf("dropped"), strings.ReplaceAll(now("dropped"), "X-EXTSYNC-VERSION:1\r\n", ""))
			res := apply(t, o, attempt("dropped", 2, event("two")))
			want(t, "2", res, connectors.Conflict, "foreign")
			if strings.Contains(fmt.Sprint(res.Err), "one") {
				t.Errorf("the error shows the object: %v", res.Err)
			}
			want(t, "adopted", apply(t, c.connect(t, "adopt: true\n"), attempt("dropped", 2, event("two"))), connectors.OK, "")
			if object := c.object(t, "dropped"); value(object, "SEQUENCE") != "1" || value(object, "X-EXTSYNC-VERSION") != "2" {
				t.Errorf("what was adopted:\n%s", object)
			}
			// One deletes it for good, and with it what the calendar knew of versions.
			want(t, "1", apply(t, o, attempt("deleted", 1, event("one"))), connectors.OK, "")
			if status, _, answer := c.ask(t, http.MethodDelete, nameOf("deleted"), ""); status/100 != 2 {
				t.Fatalf("cannot delete: %d %s", status, answer)
			}
			want(t, "2", apply(t, o, attempt("deleted", 2, event("two"))), connectors.OK, "")
			// One copies it to another name: servers refuse the second object with one UID.
			want(t, "1", apply(t, o, attempt("copied", 1, event("one"))), connectors.OK, "")
			copied := now("copied")
			c.ask(t, http.MethodDelete, nameOf("copied"), "")
			c.put(t, "a-copy.ics", copied)
			want(t, "2", apply(t, o, attempt("copied", 2, event("two"))), connectors.Conflict, "no-uid-conflict")
		})
	}
}

// A writer that is frozen between reading and writing does not write over what came
// meanwhile, also if what it read is there again but for the version.
func TestFrozenWriter(t *testing.T) {
	t.Parallel()
	for name, start := range servers() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCalendar(t, start(t))
			for what, contents := range map[string][3][]byte{ // of versions 5, 6 and 7
				"another content":  {event("5"), event("6"), event("7")},
				"the same content": {event("5"), event("6"), event("5")},
				"tombstones":       {nil, event("6"), nil},
			} {
				frozen, other := c.connect(t, ""), c.connect(t, "")
				want(t, what+": 5", apply(t, other, attempt(what, 5, contents[0])), connectors.OK, "")
				puts := 0
				c.front.Set(func() {
					c.front.Instead = func(_ http.ResponseWriter, r *http.Request) bool {
						if r.Method != http.MethodPut {
							return false
						}
						if puts++; puts == 1 { // the late one has read, and writes only now
							want(t, what+": 7", apply(t, other, attempt(what, 7, contents[2])), connectors.OK, "")
						}
						return false
					}
				})
				res := apply(t, frozen, attempt(what, 6, contents[1]))
				c.front.Heal()
				want(t, what+": 6", res, connectors.Stale, "stale")
				if got := c.read(t, what)[what].Version; got != testkit.Number(7) {
					t.Errorf("%s: the calendar holds %s", what, got)
				}
			}
		})
	}
}

// The server is killed again and again while it works on writes, and started: no version
// steps back, each key ends at its newest, and has one object.
func TestKilledServer(t *testing.T) {
	t.Parallel()
	for name, start := range servers() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCalendar(t, start(t))
			const keys, versions, kills, between = 4, 10, 3, 8
			var puts atomic.Int64
			kill := make(chan struct{})
			c.front.Set(func() {
				c.front.Instead = func(_ http.ResponseWriter, r *http.Request) bool {
					if r.Method == http.MethodPut && puts.Add(1)%between == 0 {
						select {
						case kill <- struct{}{}: // it is killed while it gets this request
						default: // it is being started
						}
					}
					return false
				}
			})
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			var down sync.RWMutex // held while it is
			var writers sync.WaitGroup
			for k := range keys {
				o := c.connect(t, "")
				writers.Go(func() {
					for v := int64(1); v <= versions && ctx.Err() == nil; {
						res := apply(t, o, attempt(fmt.Sprint("k", k), v, event(fmt.Sprint("of ", v%3))))
						switch res.Class {
						case connectors.OK:
							v++
						case connectors.Transient:
							down.RLock()
							down.RUnlock()
						default:
							t.Errorf("k%d@%d: class %s (%v)", k, v, res.Class, res.Err)
							return
						}
					}
				})
			}
			written := make(chan struct{})
			go func() { writers.Wait(); close(written) }()
			seen := map[string]versioning.Version{}
			look := func() {
				for key, held := range c.read(t, "k0", "k1", "k2", "k3") {
					if order, err := held.Version.Compare(seen[key]); err != nil || order < 0 {
						t.Errorf("%s stepped back from %s to %s (%v)", key, seen[key], held.Version, err)
					}
					seen[key] = held.Version
				}
			}
			killed := 0
			for done := false; !done; {
				select {
				case <-kill:
					if killed < kills {
						down.Lock()
						c.server.Stop(t)
						c.server.Start(t)
						down.Unlock()
						killed++
						look()
					}
				case <-written:
					done = true
				}
			}
			look()
			if killed == 0 {
				t.Error("the server was not killed")
			}
			for key, version := range seen {
				if version != testkit.Number(versions) {
					t.Errorf("%s ended at %s", key, version)
				}
			}
			_, _, all := c.ask(t, "PROPFIND", "", `<?xml version="1.0"?><propfind xmlns="DAV:"><prop><getetag/></prop></propfind>`)
			if n := strings.Count(all, ".ics<"); n != keys || len(seen) != keys {
				t.Errorf("the calendar holds %v, and lists %d objects:\n%s", seen, n, all)
			}
		})
	}
}

// Versions of one kind cannot be compared with those of the other.
func TestVersionsOfAnotherKind(t *testing.T) {
	t.Parallel()
	c := newCalendar(t, servers()["xandikos"](t))
	o := c.connect(t, "")
	want(t, "a number", apply(t, o, attempt("k", 1, event("one"))), connectors.OK, "")
	timed := attempt("k", 1, event("two"))
	timed.Version = testkit.Version(t, "2026-03-01T12:00:00.123456789Z")
	want(t, "a time", apply(t, o, timed), connectors.Conflict, "version-kind")
	held, err := o.Read(t.Context(), []string{"k", "nothing"})
	testkit.Must(t, err)
	if held[0].Version != testkit.Number(1) || !held[1].IsZero() {
		t.Errorf("it reads %v", held)
	}
}
