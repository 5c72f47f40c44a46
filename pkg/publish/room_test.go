package publish_test

import (
	"errors"
	"fmt"
	"iter"
	"strings"
	"testing"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/events"
)

// An import of new keys, many of them on their way at once, filled a topic to the last byte:
// each looked at the room before the others were stored. Then no key could converge.
func TestManyNewKeysAtOnceLeaveRoom(t *testing.T) {
	p := newPlatform(t)
	p.put(t, channels.Config{Name: "cal", Mode: channels.Latest, MaxBytes: 1 << 20})
	if _, err := p.registry(t).PutTopic(t.Context(), channels.Topic{Name: "policies", MaxBytes: 1 << 20}, 0); err != nil {
		t.Fatal(err)
	}
	for _, route := range []events.Route{events.ToChannel("cal"), events.ToTopic("policies")} {
		t.Run(route.String(), func(t *testing.T) {
			pub := p.publisher(t)
			of := func(k int, v, payload string) events.Update {
				u := events.Update{Topic: route.Topic(), Key: fmt.Sprint("k", k), Version: testkit.Version(t, v), Payload: []byte(payload)}
				if u.Topic == "" {
					u.Channel = route.Name()
				}
				return u
			}
			keys := iter.Seq[events.Update](func(yield func(events.Update) bool) {
				for k := range 5000 {
					if !yield(of(k, "1", `{"n":1}`)) {
						return
					}
				}
			})
			full := 0
			for _, err := range pub.PublishAll(t.Context(), keys, 256) {
				if err != nil && !errors.Is(err, events.ErrFull) {
					t.Fatal(err)
				}
				if err != nil {
					full++
				}
			}
			stream, err := p.JS.Stream(t.Context(), wire.UpdateStream(p.names, route))
			if err != nil {
				t.Fatal(err)
			}
			if used := stream.CachedInfo().State.Bytes * 100 >> 20; full == 0 || used < 75 || used > 82 {
				t.Errorf("%d keys were refused, and the stream is %d %% full; want about 80", full, used)
			}
			if _, err := pub.Publish(t.Context(), of(0, "2", `"`+strings.Repeat("x", 50_000)+`"`)); err != nil {
				t.Errorf("a newer version of a key that is there: %v", err)
			}
		})
	}
}
