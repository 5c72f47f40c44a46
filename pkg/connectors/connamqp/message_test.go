package connamqp_test

import (
	"maps"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/hms-utl/extsync/internal/testdb"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// What a consumer finds in a message.
func TestMessages(t *testing.T) {
	s := testdb.RabbitMQ(t)
	queue := queueName(t)
	more := "declare: quorum\nrouting_key: " + queue + "\n"
	c := connect(t, s, config(s.Addr(), s.User, more))
	box := newInbox(t, s, queue)

	a := attempt("P-7/é", 1<<53+1, `{"name":"Ann"}`)
	a.Time = time.Date(2026, 3, 1, 12, 0, 0, 123456789, time.UTC)
	a.TraceParent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	want(t, apply(t, c, a)[0], connectors.OK, "")
	m, _ := box.message(t, a.Key)
	wantHeaders := amqp.Table{
		"cloudEvents_specversion": "1.0", "cloudEvents_id": a.ID, "cloudEvents_source": a.Source, "cloudEvents_type": a.Type,
		"cloudEvents_subject": "P-7/é", "cloudEvents_entityversion": "9007199254740993", "cloudEvents_entitydigest": a.Digest.String(),
		"cloudEvents_op": "upsert", "cloudEvents_time": "2026-03-01T12:00:00.123456789Z", "traceparent": a.TraceParent,
	}
	delete(m.Headers, "x-delivery-count") // of the queue
	if !maps.Equal(m.Headers, wantHeaders) {
		t.Errorf("headers %v,\nwant    %v", m.Headers, wantHeaders)
	}
	if string(m.Body) != string(a.Payload) || m.DeliveryMode != amqp.Persistent || m.ContentType != "application/json" ||
		m.MessageId != a.ID || !m.Timestamp.Equal(a.Time.Truncate(time.Second)) {
		t.Errorf("%q, mode %d, %s, %s, %s", m.Body, m.DeliveryMode, m.ContentType, m.MessageId, m.Timestamp)
	}

	// A time is a version, too; a repetition has the same id, a replay one of its own.
	a.Version = versioning.Must(versioning.Time(a.Time))
	ids := map[string]bool{}
	for _, again := range []bool{false, false, true, true} {
		a.Again = again
		want(t, apply(t, c, a)[0], connectors.OK, "")
		m, _ = box.message(t, a.Key)
		ids[m.MessageId] = true
	}
	if len(ids) != 3 || m.Headers["cloudEvents_entityversion"] != a.Version.String() {
		t.Errorf("the ids %v, version %v", ids, m.Headers["cloudEvents_entityversion"])
	}

	// The id of an update can be longer than a message's may be.
	long := attempt("long", 1, "{}")
	long.ID = strings.Repeat("i", 256)
	want(t, apply(t, c, long)[0], connectors.OK, "")
	m, _ = box.message(t, long.Key)
	if !strings.HasPrefix(m.MessageId, "sha256:") || m.Headers["cloudEvents_id"] != long.ID {
		t.Errorf("message id %s", m.MessageId)
	}

	gone := attempt("gone", 2, "")
	want(t, apply(t, c, gone)[0], connectors.OK, "")
	if m, _ = box.message(t, "gone"); m.Headers["cloudEvents_op"] != "delete" || len(m.Body) != 0 {
		t.Errorf("a delete is %v, %q", m.Headers, m.Body)
	}

	// Attributes that fit into no frame fail alone, and never reach the broker.
	large := attempt("large", 1, "{}")
	large.Source = strings.Repeat("s", 1<<17)
	results := apply(t, c, attempt("small", 1, "{}"), large)
	want(t, results[0], connectors.OK, "")
	if want(t, results[1], connectors.Permanent, "too_long"); !results[1].Unasked {
		t.Error("the broker was asked")
	}
}

func TestPreview(t *testing.T) {
	s := testdb.RabbitMQ(t)
	c := connect(t, s, config("127.0.0.1:5672", "u", "vhost: a/b\nexchange: people\nrouting_key: p.\nappend_key: true\n"))
	p, err := c.Preview(t.Context(), attempt("P 7", 3, `{"a":1}`))
	if err != nil || p.Method != "PUBLISH" || p.URL != "amqp://127.0.0.1:5672/a%2Fb" || p.Headers["exchange"] != "people" ||
		p.Headers["routing_key"] != "p.P=207" || p.Headers["cloudEvents_entityversion"] != "3" || string(p.Body) != `{"a":1}` {
		t.Errorf("%+v, %v", p, err)
	}
}
