package httpapi

import (
	"net/http"
	"testing"

	"github.com/hms-utl/extsync/pkg/events"
)

// Whatever comes in, an update that is taken is one that the broker and the
// workers understand.
func FuzzDecodeUpdate(f *testing.F) {
	f.Add("application/json", "", `{"key":"k","version":7,"payload":{"a":1}}`)
	f.Add("application/json", "", `{"key":"k","version":"2024-05-01T12:00:00Z","op":"delete","base":"7","time":"x"}`)
	f.Add("application/cloudevents+json", "", `{"specversion":"1.0","id":"1","source":"s","type":"t","subject":"k","entityversion":"7","data_base64":"eA=="}`)
	f.Add("text/plain", "1.0", "hello")
	f.Fuzz(func(t *testing.T, contentType, spec, body string) {
		h := http.Header{"Content-Type": {contentType}, "Ce-Specversion": {spec}}
		h.Set(events.HeaderSubject, body)
		h.Set(events.HeaderVersion, "7")
		h.Set(events.HeaderID, "1")
		h.Set(events.HeaderSource, "s")
		h.Set(events.HeaderType, "t")
		d, p := decodeRequest(h, []byte(body))
		if p != nil {
			return
		}
		u, p := d.update(events.DefaultNames(), "c")
		if p != nil {
			if p.Status != http.StatusUnprocessableEntity || len(p.Errors) == 0 {
				t.Errorf("problem %+v", p)
			}
			return
		}
		msg, err := events.Encode(events.DefaultNames(), u)
		if err != nil {
			t.Fatalf("taken, and cannot be sent: %v", err)
		}
		enc, err := events.EncodeKey(u.Key)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := events.Decode(events.DefaultNames(), events.DefaultNames().StoredUpdate("c", enc), msg.Header, msg.Data); err != nil {
			t.Errorf("taken, and cannot be read: %v", err)
		}
	})
}

func FuzzCursor(f *testing.F) {
	f.Add("s12", "behind")
	f.Add("l1", "failing")
	f.Fuzz(func(t *testing.T, cursor, state string) {
		part, from, err := parseCursor(cursor, state)
		if err == nil && (from == 0 || part != streamPart && part != ledgerPart) {
			t.Errorf("part %q from %d", part, from)
		}
	})
}
