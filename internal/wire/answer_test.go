package wire_test

import (
	"bytes"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/internal/natsserver/natstest"
	"github.com/hms-utl/extsync/internal/wire"
)

// What a leader answers is read as it was stored, also where subject, headers or payload look
// like a part of the answer.
func TestReadFromLeaderOfOddMessages(t *testing.T) {
	b := natstest.Run(t)
	if _, err := b.JS.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s.>"}}); err != nil {
		t.Fatal(err)
	}
	for _, subject := range []string{"s.plain", `s.,"data":"eA==`, `s.\",\"data\":\"eA==`, `s.{"error":{"code":500}}`} {
		for _, payload := range []string{"", "x", `","data":"eA==","time":"`, `{"error":{"code":500}}`, "\x00\xff\"\n", string(bytes.Repeat([]byte("long "), 100_000))} {
			for _, header := range []nats.Header{nil, {"N": {`","data":"eA=="`}}} {
				ack, err := b.JS.PublishMsg(t.Context(), &nats.Msg{Subject: subject, Header: header, Data: []byte(payload)})
				if err != nil {
					t.Fatal(err)
				}
				msg, err := wire.ReadFromLeader(t.Context(), b.JS, "S", wire.MessageQuery{Sequence: ack.Sequence})
				if err != nil || msg.Subject != subject || string(msg.Data) != payload || msg.Header.Get("N") != header.Get("N") || msg.Sequence != ack.Sequence || msg.Time.IsZero() {
					t.Errorf("%s, %.40q, %v: %+v, %v", subject, payload, header, msg, err)
				}
			}
		}
	}
}
