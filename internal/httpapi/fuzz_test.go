package httpapi

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/events"
)

// Whatever comes in, an update that is taken is one that the broker and the
// workers understand.
func FuzzDecodeUpdate(f *testing.F) {
	f.Add("application/json", "", `{"key":"k","version":7,"payload":{"a":1}}`)
	f.Add("application/json", "", `{"key":"k","version":"2024-05-01T12:00:00Z","op":"delete","base":"7","time":"x"}`)
	f.Add("application/cloudevents+json", "", `{"specversion":"1.0","id":"1","source":"s","type":"t","subject":"k","entityversion":"7","data_base64":"eA=="}`)
	f.Add("text/plain", "1.0", "hello")
	f.Add("application/json", "1.0", "\"\xff\"")
	f.Add("application/json", "", "{\"key\":\"a\xff\",\"version\":7,\"payload\":\"\xfe\"}")
	f.Add("application/cloudevents+json", "", `{"specversion":"1.0","id":"1","source":"s","type":"t","subject":"\ud800","entityversion":"7","data":1}`)
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
		u, p := d.update(events.DefaultNames(), events.ToChannel("c"))
		if p != nil {
			if p.Status != http.StatusUnprocessableEntity || len(p.Errors) == 0 {
				t.Errorf("problem %+v", p)
			}
			return
		}
		if spec == "" && !utf8.ValidString(body) || events.IsJSON(u.ContentType) && !utf8.Valid(u.Payload) {
			t.Errorf("%q is taken as %q", body, u.Payload)
		}
		msg, err := wire.Encode(events.DefaultNames(), u)
		if err != nil {
			t.Fatalf("taken, and cannot be sent: %v", err)
		}
		enc, err := events.EncodeKey(u.Key)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := wire.Decode(events.DefaultNames(), wire.StoredUpdate(events.DefaultNames(), events.ToChannel("c"), enc), msg.Header, msg.Data); err != nil {
			t.Errorf("taken, and cannot be read: %v", err)
		}
	})
}

// Whatever is sent as gzip, no more comes out of it than an operation takes.
func FuzzDecodeContent(f *testing.F) {
	var bomb bytes.Buffer
	w := gzip.NewWriter(&bomb)
	_, _ = w.Write(make([]byte, 1<<20)) // a buffer takes everything
	_ = w.Close()
	f.Add("gzip", bomb.Bytes())
	f.Add("gzip", bomb.Bytes()[:20])
	f.Add("gzip, gzip", []byte{})
	f.Fuzz(func(t *testing.T, encoding string, body []byte) {
		const most = 4096
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", bytes.NewReader(body))
		r.Header["Content-Encoding"] = []string{encoding}
		p := decodeContent(r, false, most)
		if p != nil {
			if p.Status < 400 || p.Status > 499 || p.Reason == "" {
				t.Errorf("problem %+v", p)
			}
			return
		}
		data, err := io.ReadAll(r.Body)
		if err != nil || len(data) >= most && !strings.EqualFold(encoding, "identity") {
			t.Errorf("%d bytes, %v", len(data), err)
		}
	})
}
