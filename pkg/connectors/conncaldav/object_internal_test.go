package conncaldav

import (
	"bytes"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

func testConnector(component string) *connector {
	return &connector{Config: Config{Component: component}, domain: "tests", now: func() time.Time { return time.Unix(1700000000, 0) }}
}

func testAttempt(op events.Op, payload string) *connectors.Attempt {
	u := events.Update{Channel: "c", Key: "k", Version: versioning.Must(versioning.Number(7)), Op: op, Payload: []byte(payload)}
	return &connectors.Attempt{Update: u, Digest: u.Digest()}
}

const goodEvent = "BEGIN:VCALENDAR\nVERSION:2.0\nPRODID:-//x//EN\nBEGIN:VEVENT\nDTSTART:20260402T090000Z\nSUMMARY:private\nEND:VEVENT\nEND:VCALENDAR\n"

// What is no object of the calendar is refused, in words that show nothing of it.
func TestPayloads(t *testing.T) {
	t.Parallel()
	change := func(old, with string) string { return strings.Replace(goodEvent, old, with, 1) }
	for name, c := range map[string]struct{ payload, says string }{ // says "": it is good
		"good":               {goodEvent, ""},
		"byte order mark":    {"\ufeff" + goodEvent, ""},
		"CRLF and empty":     {strings.ReplaceAll(goodEvent, "\n", "\r\n") + "\r\n", ""},
		"lower case":         {change("BEGIN:VEVENT", "begin:vevent"), ""},
		"folded":             {change("SUMMARY:private", "SUMM\n ARY:pri\n\tvate"), ""},
		"quoted colon":       {change("SUMMARY:private", "SUMMARY;ALTREP=\"http://x\":private"), ""},
		"nothing":            {"", "is empty"},
		"JSON":               {`{"a":1}`, "line 1"},
		"only an event":      {"BEGIN:VEVENT\nEND:VEVENT", "no VCALENDAR"},
		"two calendars":      {goodEvent + goodEvent, "line 9: something follows"},
		"behind it":          {goodEvent + "X:private", "line 9: it is in no component"},
		"no end":             {change("END:VCALENDAR", ""), "no END"},
		"wrong end":          {change("END:VEVENT", "END:VTODO"), "line 7"},
		"fold at the start":  {" x\n" + goodEvent, "line 1: it goes on with nothing"},
		"no value":           {change("SUMMARY:private", "private"), "line 6"},
		"no name":            {change("SUMMARY:private", ":private"), "line 6"},
		"open quote":         {change("SUMMARY:private", "SUMMARY;X=\":private"), "line 6"},
		"control character":  {change("private", "pri\x00vate"), "control character"},
		"not UTF-8":          {change("private", "\xff"), "UTF-8"},
		"another version":    {change("VERSION:2.0", "VERSION:1.0"), "VERSION:2.0"},
		"no product":         {change("PRODID", "X-PRODID"), "PRODID"},
		"an invitation":      {change("VERSION:2.0", "METHOD:REQUEST\nVERSION:2.0"), "METHOD"},
		"a task":             {strings.ReplaceAll(goodEvent, "VEVENT", "VTODO"), "it is a VTODO"},
		"a journal":          {strings.ReplaceAll(goodEvent, "VEVENT", "VJOURNAL"), "another component"},
		"two events":         {change("END:VCALENDAR", "BEGIN:VEVENT\nDTSTART:20260402T090000Z\nEND:VEVENT\nEND:VCALENDAR"), "it has 2 components"},
		"no event":           {"BEGIN:VCALENDAR\nVERSION:2.0\nPRODID:x\nEND:VCALENDAR", "it has 0 components"},
		"no beginning":       {change("DTSTART", "X-DTSTART"), "DTSTART"},
		"one occurrence":     {change("SUMMARY:private", "RECURRENCE-ID:20260402T090000Z"), "RECURRENCE-ID"},
		"too deep":           {strings.Repeat("BEGIN:X\n", maxDepth+1), "in each other"},
		"too large":          {change("private", strings.Repeat("x", maxPayload)), "more than"},
		"a time zone, alarm": {change("BEGIN:VEVENT", "BEGIN:VTIMEZONE\nTZID:x\nEND:VTIMEZONE\nBEGIN:VEVENT\nBEGIN:VALARM\nEND:VALARM"), ""},
	} {
		_, err := testConnector(event).draft(testAttempt(events.Upsert, c.payload))
		if c.says == "" && err != nil || c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "private")) {
			t.Errorf("%s: %v; want an error that says %q", name, err, c.says)
		}
	}
}

// SEQUENCE stays where it can get no higher; a stamp is added where there is none; a task
// needs no beginning.
func TestDrafts(t *testing.T) {
	t.Parallel()
	d, err := testConnector(event).draft(testAttempt(events.Upsert, goodEvent))
	if err != nil {
		t.Fatal(err)
	}
	there := objectOf(`"1"`, []byte(strings.Replace(goodEvent, "SUMMARY", "SEQUENCE:2147483647\nSUMMARY", 1)))
	if text := string(d.after(&there)); !strings.Contains(text, "SEQUENCE:2147483647\r\n") || !strings.Contains(text, "DTSTAMP:20231114T221320Z\r\n") {
		t.Errorf("it is\n%s", text)
	}
	stamped := testAttempt(events.Upsert, goodEvent)
	stamped.Time = time.Date(2026, 3, 1, 9, 0, 0, 0, time.FixedZone("", 3600))
	if d, err = testConnector(event).draft(stamped); err != nil || !strings.Contains(string(d.after(&object{})), "DTSTAMP:20260301T080000Z\r\n") {
		t.Errorf("a version that has a time: %v", err)
	}
	gone, err := testConnector(task).draft(testAttempt(events.Delete, ""))
	if err != nil {
		t.Fatal(err)
	}
	if text := string(gone.after(&there)); strings.Contains(text, "DTSTART") || strings.Contains(text, "TRANSP") || !strings.Contains(text, "BEGIN:VTODO") {
		t.Errorf("a task that was cancelled where an event was:\n%s", text)
	}
}

// FuzzObjects: what is taken is written so that it reads as it was, in short lines, and
// has one UID, SEQUENCE and version, whatever was in it; and any answer of a server gives
// an object, or a foreign one.
func FuzzObjects(f *testing.F) {
	f.Add([]byte(goodEvent))
	f.Add([]byte(strings.Replace(goodEvent, "SUMMARY:private", "UID:x\nSEQUENCE;X=\":\":9\nX-EXTSYNC-VERSION:1\nX-é:1\nSUMMARY:"+strings.Repeat("é", 99), 1)))
	f.Add([]byte("BEGIN:VCALENDAR\nBEGIN:VTIMEZONE\nEND:VTIMEZONE\nBEGIN:VTODO\nX-EXTSYNC-VERSION:7\nEND:VTODO\nEND:VCALENDAR"))
	f.Fuzz(func(t *testing.T, data []byte) {
		there := objectOf(`"1"`, data)
		if (there.Foreign == "") == there.Version.IsZero() {
			t.Fatalf("%+v", there.State)
		}
		gone, err := testConnector(event).draft(testAttempt(events.Delete, ""))
		if err != nil {
			t.Fatal(err)
		}
		for _, body := range [][]byte{gone.after(&there), drafted(data, &there)} {
			if body == nil {
				continue
			}
			for line := range bytes.Lines(body) {
				if !bytes.HasSuffix(line, []byte("\r\n")) || len(line) > maxLine+2 || !utf8.Valid(line) {
					t.Fatalf("a line is %q", line)
				}
			}
			got := objectOf(`"2"`, body)
			if got.Foreign != "" || got.Version != versioning.Must(versioning.Number(7)) || got.sequence < min(there.sequence+1, maxSequence) {
				t.Fatalf("it reads as %+v:\n%s", got, body)
			}
			for _, name := range []string{"UID", "SEQUENCE", propVersion, propDigest, propOp} {
				n := 0
				for _, p := range got.main.properties {
					if p.name == name {
						n++
					}
				}
				if n != 1 {
					t.Fatalf("%s is there %d times:\n%s", name, n, body)
				}
			}
		}
	})
}

// drafted returns what an upsert of data would send, nil if it is refused.
func drafted(data []byte, there *object) []byte {
	d, err := testConnector(event).draft(testAttempt(events.Upsert, string(data)))
	if err != nil {
		return nil
	}
	return d.after(there)
}

// FuzzRefusals: whatever a server says, there is a code and a class that is no success.
func FuzzRefusals(f *testing.F) {
	f.Add(409, []byte(`<error xmlns="DAV:"><no-uid-conflict/></error>`))
	f.Add(207, []byte(`<multistatus xmlns="DAV:"><response><status>HTTP/1.1 200 OK</status><error><x/></error></response></multistatus>`))
	f.Add(200, []byte("x"))
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		if m := judge(answer{status: status, body: body}); m.Code == "" || m.Class == connectors.OK {
			t.Fatalf("%+v", m)
		}
	})
}
