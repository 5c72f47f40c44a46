package connmqtt_test

import (
	"encoding/json"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/hms-utl/extsync/internal/testdb"
	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// What a subscriber finds in a message that was there before it came.
func TestMessages(t *testing.T) {
	s := testdb.StartMosquitto(t)
	c := connect(t, secrets(s), config(s.Addr(), s.User, ""))
	a := attempt("P-7/é", 1<<53+1, `{"name":"Ann"}`)
	a.Time = time.Date(2026, 3, 1, 12, 0, 0, 123456789, time.UTC)
	a.TraceParent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	a.Base = testkit.Number(7)
	want(t, apply(t, c, a)[0], connectors.OK, "")
	m := retained(t, s, a.Key)
	if m == nil {
		t.Fatal("nothing is retained")
	}
	got := map[string]string{}
	for _, p := range m.Properties.User {
		got[p.Key] = p.Value
	}
	if !maps.Equal(got, map[string]string{
		"specversion": "1.0", "id": a.ID, "source": a.Source, "type": a.Type, "subject": "P-7/é", "entityversion": "9007199254740993",
		"entitydigest": a.Digest.String(), "op": "upsert", "baseversion": "7", "time": "2026-03-01T12:00:00.123456789Z", "traceparent": a.TraceParent,
	}) {
		t.Errorf("properties %v", got)
	}
	if m.Topic != "p/P-7=2f=c3=a9" || string(m.Payload) != string(a.Payload) || m.Properties.ContentType != "application/json" || !m.Retain || m.QoS != 1 {
		t.Errorf("%s: %q, %s, QoS %d", m.Topic, m.Payload, m.Properties.ContentType, m.QoS)
	}

	// A time is a version, too.
	a.Version = versioning.Must(versioning.Time(a.Time))
	want(t, apply(t, c, a)[0], connectors.OK, "")
	if m = retained(t, s, a.Key); versionOf(t, m) != a.Version {
		t.Errorf("version %s", versionOf(t, m))
	}
}

// A deleted key has a message that says so, or none.
func TestDeletes(t *testing.T) {
	s := testdb.StartMosquitto(t)
	sub := newSubscriber(t, s)
	keeps, removes := connect(t, secrets(s), config(s.Addr(), s.User, "")), connect(t, secrets(s), config(s.Addr(), s.User, "on_delete: remove\n"))
	want(t, apply(t, keeps, attempt("a\tb", 1, "{}"))[0], connectors.OK, "")
	gone := attempt("a\tb", 2, "")
	want(t, apply(t, keeps, gone)[0], connectors.OK, "")
	m := retained(t, s, gone.Key)
	var doc struct {
		Key string `json:"key"`
		versioning.Tag
		Op events.Op `json:"op"`
	}
	if m == nil || json.Unmarshal(m.Payload, &doc) != nil || doc.Key != gone.Key || doc.Version != gone.Version || doc.Digest != gone.Digest || doc.Op != events.Delete ||
		m.Properties.ContentType != "application/json" || m.Properties.User.Get("op") != "delete" || keyOf(m) != gone.Key {
		t.Fatalf("the tombstone is %+v", m)
	}
	held, err := keeps.Read(t.Context(), []string{gone.Key})
	if err != nil || held[0].Version != gone.Version || held[0].Op != events.Delete || held[0].Digest != gone.Digest {
		t.Errorf("Read gave %+v, %v", held, err)
	}

	gone = attempt("a\tb", 3, "")
	want(t, apply(t, removes, gone)[0], connectors.OK, "")
	if m := retained(t, s, gone.Key); m != nil {
		t.Errorf("%q is retained", m.Payload)
	}
	if m, _ := sub.message(t, gone.Key); m == nil || m.Properties.User.Get("op") != "delete" || versionOf(t, m) != gone.Version {
		t.Errorf("who was subscribed has %+v", m)
	}
}

// The attributes that nobody can send fail before the broker is asked, and alone.
func TestMessagesThatMQTTDoesNotCarry(t *testing.T) {
	s := testdb.StartMosquitto(t)
	c := connect(t, secrets(s), config(s.Addr(), s.User, ""))
	empty, text, large := attempt("empty", 1, "{}"), attempt("text", 1, "{}"), attempt("large", 1, strings.Repeat("x", testdb.MostPacketOfMosquitto))
	empty.Payload, text.Source = nil, "a\x00b"
	results := apply(t, c, attempt("first", 1, "{}"), empty, text, large, attempt("last", 1, "{}"))
	for i, code := range []string{"", "empty", "text", "too_large", ""} {
		if code == "" {
			want(t, results[i], connectors.OK, "")
			continue
		}
		if want(t, results[i], connectors.Permanent, code); !results[i].Unasked {
			t.Errorf("%s: the broker was asked", code)
		}
	}
}

func TestPreview(t *testing.T) {
	c := connect(t, map[string]string{"CHANNEL_PASSWORD": "x"}, config("127.0.0.1:1883", "u", ""))
	p, err := c.Preview(t.Context(), attempt("P 7", 3, `{"a":1}`))
	if err != nil || p.Method != "PUBLISH" || p.URL != "mqtt://127.0.0.1:1883/p/P=207" || p.Headers["topic"] != "p/P=207" ||
		p.Headers["entityversion"] != "3" || p.Headers["content_type"] != "application/json" || string(p.Body) != `{"a":1}` {
		t.Errorf("%+v, %v", p, err)
	}
}
