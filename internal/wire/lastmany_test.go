package wire_test

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/events"
)

// Each subject has its newest message in its place, whatever the broker's answers have
// room for, whatever headers a publisher has sent, and nothing where there is nothing.
func TestReadLastOf(t *testing.T) {
	p := newPlatform(t)
	const keys = 40
	var subjects []string
	for i := range keys {
		key := fmt.Sprintf("k%d", i)
		subjects = append(subjects, wire.StoredUpdate(p.names, events.ToChannel("latest"), key))
		for v := range i % 4 { // every fourth has none
			msg := &nats.Msg{Subject: p.names.Update(events.ToChannel("latest"), key), Header: nats.Header{}, Data: fmt.Appendf(nil, "%s of version %d ", key, v)}
			switch i % 5 {
			case 1: // more than one answer has room for
				msg.Data = append(msg.Data, bytes.Repeat([]byte("x"), 900_000)...)
			case 2:
				msg.Data = nil
				msg.Header = nats.Header{"Status": {"204"}, "Nats-Subject": {"other"}, "Nats-Sequence": {"none"}, "Nats-Num-Pending": {"0"}}
			}
			if _, err := p.JS.PublishMsg(t.Context(), msg); err != nil {
				t.Fatal(err)
			}
		}
	}
	stream, err := p.JS.Stream(t.Context(), wire.UpdateStream(p.names, events.ToChannel("latest")))
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{0, 1, 7, keys} {
		found, err := wire.ReadLastOf(t.Context(), p.JS, stream, subjects[:n])
		if err != nil || len(found) != n {
			t.Fatalf("%d of %d subjects: %v", len(found), n, err)
		}
		for i, msg := range found {
			want, err := wire.ReadLast(t.Context(), p.JS, stream, subjects[i])
			switch {
			case err != nil && msg != nil:
				t.Errorf("%s: %d is there, and should not be", subjects[i], msg.Sequence)
			case err == nil && (msg == nil || msg.Sequence != want.Sequence || !msg.Time.Equal(want.Time) || !bytes.Equal(msg.Data, want.Data)):
				t.Errorf("%s: %v, want that of sequence %d", subjects[i], msg, want.Sequence)
			}
		}
	}
	if err := p.JS.DeleteStream(t.Context(), stream.CachedInfo().Config.Name); err != nil {
		t.Fatal(err)
	}
	if _, err := wire.ReadLastOf(t.Context(), p.JS, stream, subjects); !wire.IsUnavailable(err) {
		t.Errorf("of no stream: %v", err)
	}
}
