package connkafka_test

import (
	"bytes"
	"maps"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// What a consumer finds in a record.
func TestRecords(t *testing.T) {
	b := startBroker(t)
	topic := topicName(t)
	b.topic(t, topic, 3, compacted(nil))
	c, box := connect(t, config(b.proxy.Addr(), topic, "")), newInbox(b, topic)

	a := attempt("P-7/é", 1<<53+1, `{"name":"Ann"}`)
	a.Time = time.Date(2026, 3, 1, 12, 0, 0, 123456789, time.UTC)
	a.TraceParent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	want(t, apply(t, c, a)[0], connectors.OK, "")
	r := last(t, box, a.Key)
	got := map[string]string{}
	for _, h := range r.Headers {
		got[h.Key] = string(h.Value)
	}
	wantHeaders := map[string]string{
		"ce_specversion": "1.0", "ce_id": a.ID, "ce_source": a.Source, "ce_type": a.Type,
		"ce_subject": "P-7/é", "ce_entityversion": "9007199254740993", "ce_entitydigest": a.Digest.String(),
		"ce_op": "upsert", "ce_time": "2026-03-01T12:00:00.123456789Z", "content-type": "application/json", "traceparent": a.TraceParent,
	}
	if !maps.Equal(got, wantHeaders) {
		t.Errorf("headers %v,\nwant    %v", got, wantHeaders)
	}
	if !bytes.Equal(r.Value, a.Payload) {
		t.Errorf("value %q", r.Value)
	}

	a.Version = versioning.Must(versioning.Time(a.Time))
	want(t, apply(t, c, a)[0], connectors.OK, "")
	if r = last(t, box, a.Key); header(r, "ce_entityversion") != a.Version.String() {
		t.Errorf("version %s", header(r, "ce_entityversion"))
	}

	want(t, apply(t, c, attempt("gone", 2, ""))[0], connectors.OK, "")
	if r = last(t, box, "gone"); header(r, "ce_op") != "delete" || string(r.Value) != `{"key":"gone","version":"2","op":"delete"}` {
		t.Errorf("a delete is %q", r.Value)
	}
	null := connect(t, config(b.proxy.Addr(), topic, "deletes: 'null'\n"))
	want(t, apply(t, null, attempt("gone", 3, ""))[0], connectors.OK, "")
	if r = last(t, box, "gone"); header(r, "ce_op") != "delete" || header(r, "ce_entityversion") != "3" || r.Value != nil {
		t.Errorf("a delete without a value is %q", r.Value)
	}
	empty := attempt("empty", 1, "{}")
	empty.Payload = nil
	want(t, apply(t, null, empty)[0], connectors.OK, "")
	if r = last(t, box, "empty"); r.Value == nil {
		t.Error("an upsert without content became a tombstone")
	}
}

func last(t *testing.T, box *inbox, key string) *kgo.Record {
	t.Helper()
	all := box.records(t, key)
	if len(all) == 0 {
		t.Fatalf("there is no record of %s", key)
	}
	return all[len(all)-1]
}

// Keys are in the partitions in which Java's producers put them. The hashes are those of
// Kafka's own test (UtilsTest.testMurmur2), without their highest bit.
func TestPartitionsAreThoseOfJava(t *testing.T) {
	b := startBroker(t)
	topic := topicName(t)
	const partitions = 17
	b.topic(t, topic, partitions, compacted(nil))
	c, box := connect(t, config(b.proxy.Addr(), topic, "")), newInbox(b, topic)
	for key, hash := range map[string]int32{"21": -973932308, "foobar": -790332482, "a-little-bit-long-string": -985981536, "a-little-bit-longer-string": -1486304829, "abc": 479470107} {
		want(t, apply(t, c, attempt(key, 1, "{}"))[0], connectors.OK, "")
		if r := last(t, box, key); r.Partition != (hash&0x7fffffff)%partitions {
			t.Errorf("%s is in partition %d", key, r.Partition)
		}
	}
}

func TestPreview(t *testing.T) {
	c := connect(t, config("127.0.0.1:9092", "people", ""))
	p, err := c.Preview(t.Context(), attempt("P 7", 3, `{"a":1}`))
	if err != nil || p.Method != "PRODUCE" || p.URL != "kafka://127.0.0.1:9092/people" || p.Headers["key"] != "P 7" ||
		p.Headers["ce_entityversion"] != "3" || string(p.Body) != `{"a":1}` {
		t.Errorf("%+v, %v", p, err)
	}
}
