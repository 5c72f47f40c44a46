package wire_test

import (
	"errors"
	"math/rand"
	"reflect"
	"strings"
	"testing"
	"testing/quick"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

func TestEncodeGolden(t *testing.T) {
	vaccination := events.Update{
		Channel: "appointment_calendar", Key: "p-2023-vax", Version: testkit.Version(t, "7"),
		Payload: []byte(`{"slot":"2023-11-02T09:00:00Z"}`),
	}
	full := events.Update{
		Channel: "erp_db", Key: "policy/2023 ä", Version: testkit.Version(t, "2024-01-01T00:00:00.123456789+05:30"),
		Op: events.Upsert, Base: testkit.Version(t, "2023-12-31T00:00:00Z"), Payload: []byte("<policy/>"), ContentType: "application/xml; charset=utf-8",
		ID: "change-4711", Source: "https://platform.example/policies", Type: "example.policy.changed",
		Time:    time.Date(2024, 1, 1, 1, 2, 3, 4, time.FixedZone("", 3600)),
		ReplyTo: "sync.acks.policies.4711", ReplyLines: true, TraceParent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", TraceState: "vendor=1",
	}
	for name, u := range map[string]events.Update{
		"update_defaults":   vaccination,
		"update_full":       full,
		"update_tombstone":  {Channel: "erp_db", Key: "p-1", Version: testkit.Version(t, "8"), Op: events.Delete},
		"update_large":      {Channel: "erp_db", Key: "p-1", Version: testkit.Version(t, "9007199254740993"), Payload: []byte("{}")},
		"update_hashed_key": {Channel: "erp_db", Key: strings.Repeat("long key/", 30), Version: testkit.Version(t, "1"), Payload: []byte("{}")},
		"update_odd_key":    {Channel: "erp_db", Key: "a.b*>%\"\r\n\x00語", Version: testkit.Version(t, "1"), Payload: []byte("{}")},
	} {
		t.Run(name, func(t *testing.T) {
			msg, err := wire.Encode(events.DefaultNames(), u)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, name, show(msg))
		})
	}
}

// anyUpdate makes random valid updates for testing/quick.
type anyUpdate struct{ events.Update }

// Generate implements quick.Generator.
func (anyUpdate) Generate(r *rand.Rand, _ int) reflect.Value {
	maybe := func(s string) string {
		if r.Intn(2) == 0 {
			return ""
		}
		return s
	}
	u := events.Update{
		Channel: "c", Key: randomKey(r),
		Op:          events.Op(maybe("delete")),
		ContentType: maybe("text/plain"), ID: maybe("id 1"), Source: maybe("/s"), Type: maybe("t"),
		ReplyTo: maybe("_INBOX.a"), ReplyLines: r.Intn(2) == 0, TraceParent: maybe("00-a-b-01"), TraceState: maybe("a=b,c=d"),
	}
	if r.Intn(2) == 0 {
		u.Version, u.Base = versioning.Must(versioning.Number(1+r.Int63())), versioning.Must(versioning.Number(1))
	} else {
		u.Version = versioning.Must(versioning.Time(time.Unix(r.Int63n(1e10), r.Int63n(1e9))))
	}
	if r.Intn(2) == 0 {
		u.Base = versioning.Version{}
		zone := time.FixedZone("", (r.Intn(27)-13)*3600)
		// The ends of the calendar, where a zone leads into another year.
		edge := []int64{-62135596800, 253402300799, 0}[r.Intn(3)]
		u.Time = time.Unix(edge+r.Int63n(100000)-50000, r.Int63n(1e9)).In(zone)
	}
	if n := r.Intn(20); n > 0 {
		u.Payload = make([]byte, n)
		r.Read(u.Payload)
	}
	return reflect.ValueOf(anyUpdate{u})
}

// What Encode accepts arrives as it was, defaults filled in and the time in UTC.
func TestWhatIsEncodedIsDecoded(t *testing.T) {
	n := events.DefaultNames()
	accepted := 0
	property := func(x anyUpdate) bool {
		msg, err := wire.Encode(n, x.Update)
		if err != nil {
			if !errors.Is(err, events.ErrInvalidUpdate) {
				t.Errorf("refused with %v", err)
			}
			return x.Time.UTC().Year() < 1 || x.Time.UTC().Year() > 9999
		}
		accepted++
		stored := wire.StoredUpdate(n, events.ToChannel("c"), testkit.EncodeKey(t, x.Key))
		got, err := wire.Decode(n, stored, throughTheWire(t, msg.Header), msg.Data)
		if err != nil {
			t.Logf("Decode: %v", err)
			return false
		}
		want := x.WithDefaults()
		if !got.Time.Equal(want.Time) || got.Tag() != x.Tag() {
			t.Logf("time %v, want %v; tag %v, want %v", got.Time, want.Time, got.Tag(), x.Tag())
			return false
		}
		got.Time, want.Time = time.Time{}, time.Time{}
		if !reflect.DeepEqual(got, want) {
			t.Logf("got %+v, want %+v", got, want)
			return false
		}
		return true
	}
	if err := quick.Check(property, quickConfig(t)); err != nil {
		t.Error(err)
	}
	if accepted == 0 {
		t.Error("no update was accepted")
	}
}

// throughTheWire writes headers as nats.go does and reads them again.
func throughTheWire(t testing.TB, h nats.Header) nats.Header {
	t.Helper()
	var b strings.Builder
	b.WriteString("NATS/1.0\r\n")
	for name, values := range h {
		for _, v := range values {
			b.WriteString(name + ": " + v + "\r\n")
		}
	}
	b.WriteString("\r\n")
	out, err := nats.DecodeHeadersMsg([]byte(b.String()))
	if err != nil {
		t.Fatalf("headers %q: %v", b.String(), err)
	}
	return out
}

// Another client writes its own spellings where the contract leaves a choice.
func TestDecodeForeignPublisher(t *testing.T) {
	n := events.DefaultNames()
	valid := func() nats.Header {
		return nats.Header{
			"ce-specversion": {"1.0"}, "ce-id": {"1"}, "ce-source": {"/x"}, "ce-type": {"t"}, "ce-entityversion": {"7"},
		}
	}
	tests := map[string]struct {
		subject string
		change  func(nats.Header)
		names   []string // of the error; nil: accepted
	}{
		"no more than needed":       {change: func(nats.Header) {}},
		"the key in ce-subject":     {change: func(h nats.Header) { h.Set("ce-subject", "p-1") }},
		"a percent-encoded key":     {change: func(h nats.Header) { h.Set("ce-subject", "%70%2d1") }},
		"a version in another zone": {change: func(h nats.Header) { h.Set("ce-entityversion", "2024-01-01T00:00:00+01:00") }},
		"CloudEvents extensions":    {change: func(h nats.Header) { h.Set("ce-tenant", "7"); h.Set("X-Other", "x") }},
		"nothing at all":            {change: func(h nats.Header) { clear(h) }, names: []string{"ce-specversion", "ce-id", "ce-entityversion"}},
		"another subject":           {subject: "sync.dead.c.1.p-1", change: func(nats.Header) {}, names: []string{"subject", "sync.dead"}},
		"another spelling":          {change: func(h nats.Header) { h.Del("ce-id"); h.Set("Ce-Id", "1") }, names: []string{"ce-id"}},
		"CloudEvents 0.3":           {change: func(h nats.Header) { h.Set("ce-specversion", "0.3") }, names: []string{"ce-specversion", "0.3"}},
		"no version":                {change: func(h nats.Header) { h.Del("ce-entityversion") }, names: []string{"ce-entityversion"}},
		"a version as a float":      {change: func(h nats.Header) { h.Set("ce-entityversion", "7.0") }, names: []string{"ce-entityversion", "7.0"}},
		"a base that is none":       {change: func(h nats.Header) { h.Set("ce-baseversion", "x") }, names: []string{"ce-baseversion"}},
		"a base of the other kind":  {change: func(h nats.Header) { h.Set("ce-baseversion", "2024-01-01T00:00:00Z") }, names: []string{"base"}},
		"an unknown op":             {change: func(h nats.Header) { h.Set("ce-op", "merge") }, names: []string{"op", "merge"}},
		"a bad time":                {change: func(h nats.Header) { h.Set("ce-time", "yesterday") }, names: []string{"ce-time", "yesterday"}},
		"somebody else's key":       {change: func(h nats.Header) { h.Set("ce-subject", "p-2") }, names: []string{"ce-subject", "p-2"}},
		"a broken escape":           {change: func(h nats.Header) { h.Set("ce-subject", "p%2") }, names: []string{"ce-subject"}},
		"a hash without its key":    {subject: "sync.upd.c.1.1.==ABC", change: func(nats.Header) {}, names: []string{"ce-subject"}},
		"a bad content type":        {change: func(h nats.Header) { h.Set("content-type", "/") }, names: []string{"content type"}},
		"everything at once": {
			change: func(h nats.Header) { h.Set("ce-entityversion", "x"); h.Set("ce-time", "y"); h.Set("ce-subject", "z") },
			names:  []string{"ce-entityversion", "ce-time", "ce-subject"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			h := valid()
			tt.change(h)
			subject := tt.subject
			if subject == "" {
				subject = wire.StoredUpdate(n, events.ToChannel("c"), "p-1")
			}
			u, err := wire.Decode(n, subject, h, []byte("{}"))
			if tt.names == nil {
				if err != nil || u.Key != "p-1" || u.Channel != "c" || u.Op != events.Upsert || u.ContentType != "application/json" {
					t.Errorf("Decode = %+v, %v", u, err)
				}
				return
			}
			if !errors.Is(err, events.ErrInvalidUpdate) {
				t.Fatalf("error = %v, want ErrInvalidUpdate", err)
			}
			for _, want := range tt.names {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q does not name %q", err, want)
				}
			}
			if string(u.Payload) != "{}" {
				t.Error("the payload is lost to the record of the failure")
			}
		})
	}
}

func FuzzDecode(f *testing.F) {
	n := events.DefaultNames()
	msg, err := wire.Encode(n, events.Update{Channel: "c", Key: "a.b", Version: testkit.Version(f, "7")})
	if err != nil {
		f.Fatal(err)
	}
	var headers strings.Builder
	for name, values := range msg.Header {
		headers.WriteString(name + ": " + values[0] + "\r\n")
	}
	f.Add(wire.StoredUpdate(n, events.ToChannel("c"), "a=2Eb"), headers.String(), []byte("{}"))
	f.Add("sync.upd.c.1.1.==ABC", "ce-subject: x\r\nce-entityversion: 2024-01-01T00:00:00Z\r\n", []byte(nil))
	f.Add("", "", []byte(nil))
	f.Fuzz(func(t *testing.T, subject, headers string, data []byte) {
		h, err := nats.DecodeHeadersMsg([]byte("NATS/1.0\r\n" + headers + "\r\n"))
		if err != nil {
			return // the client hands over no such headers
		}
		u, err := wire.Decode(n, subject, h, data)
		if err != nil {
			if !errors.Is(err, events.ErrInvalidUpdate) {
				t.Fatalf("error = %v", err)
			}
			if len(err.Error()) > 4096 || strings.ContainsAny(err.Error(), "\r\n\x00") {
				t.Fatalf("error of %d bytes: %q", len(err.Error()), err)
			}
			return
		}
		// What is accepted can be published again, as a replay does.
		again, err := wire.Encode(n, u)
		if err != nil {
			t.Fatalf("decoded, but not to be encoded: %v", err)
		}
		back, err := wire.Decode(n, wire.StoredUpdate(n, events.ToChannel(u.Channel), testkit.EncodeKey(t, u.Key)), again.Header, again.Data)
		if err != nil || back.Tag() != u.Tag() || back.ID != u.ID || back.Key != u.Key || !back.Time.Equal(u.Time) {
			t.Fatalf("%+v came back as %+v, %v", u, back, err)
		}
	})
}
