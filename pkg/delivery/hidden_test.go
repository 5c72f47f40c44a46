package delivery_test

import (
	"fmt"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/deadletters"
	"github.com/hms-utl/extsync/pkg/events"
)

// The NATS client keeps such messages to itself, and takes some for the end of
// its pull: they once stopped their partition for good.
func TestHandMadeUpdateThatLooksLikeAServerStatusStopsNobody(t *testing.T) {
	t.Parallel()
	for _, mode := range modes {
		for _, status := range []string{"100", "400", "404", "408", "409", "503", "whatever"} {
			t.Run(string(mode)+"/"+status, func(t *testing.T) {
				l := newLab(t, channel("cal", mode))
				l.work("a")
				l.allDelivered("cal", 3, 1)
				names := events.DefaultNames()
				msg := nats.NewMsg(names.Update(events.ToChannel("cal"), "forged"))
				msg.Header.Set("Status", status)
				_, err := l.JS.PublishMsg(t.Context(), msg)
				testkit.Must(t, err)
				l.allDelivered("cal", 3, 2)
				letters, err := deadletters.Open(t.Context(), l.JS, names)
				testkit.Must(t, err)
				l.eventually("the dead letter", func() bool {
					n, err := letters.Count(t.Context(), deadletters.Filter{Channel: "cal", Code: "malformed"})
					testkit.Must(t, err)
					return n == 1
				})
				l.eventually("its removal", func() bool {
					stream, err := l.JS.Stream(t.Context(), wire.UpdateStream(names, events.ToChannel("cal")))
					testkit.Must(t, err)
					want := map[channels.Mode]uint64{channels.Latest: 3, channels.Every: 0}[mode]
					return stream.CachedInfo().State.Msgs == want
				})
				// The key is usable.
				if ack := l.request(update("cal", "forged", 1)); ack.Outcome != events.Delivered {
					t.Fatalf("not delivered: %+v", ack)
				}
			})
		}
	}
}

func TestUpdateOfAnotherVersionKindDoesNotBlockItsKey(t *testing.T) {
	for _, mode := range modes {
		t.Run(string(mode), func(t *testing.T) {
			l := newLab(t, channel("cal", mode))
			l.work("a")
			l.allDelivered("cal", 1, 1)
			names := events.DefaultNames()
			msg := nats.NewMsg(names.Update(events.ToChannel("cal"), "k0"))
			for name, value := range map[string]string{
				events.HeaderSpecVersion: "1.0", events.HeaderID: "x", events.HeaderSource: "s", events.HeaderType: "t",
				events.HeaderVersion: "2026-01-02T03:04:05Z",
			} {
				msg.Header.Set(name, value)
			}
			msg.Data = []byte("{}")
			_, err := l.JS.PublishMsg(t.Context(), msg)
			testkit.Must(t, err)
			letters, err := deadletters.Open(t.Context(), l.JS, names)
			testkit.Must(t, err)
			l.eventually("the dead letter", func() bool {
				n, err := letters.Count(t.Context(), deadletters.Filter{Channel: "cal", Code: "version_kind"})
				testkit.Must(t, err)
				return n == 1
			})
			for v := int64(2); v < 4; v++ {
				if ack := l.request(update("cal", "k0", v)); ack.Outcome != events.Delivered {
					t.Fatalf("version %d: %+v", v, ack)
				}
			}
			if got := fmt.Sprint(l.tg.versions("k0")); got != "[1 2 3]" {
				t.Fatalf("target got %s", got)
			}
		})
	}
}
