package publish_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hms-utl/extsync/internal/natsserver/natstest"
	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/internal/wire/wiretest"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/publish"
	"github.com/hms-utl/extsync/pkg/versioning"
)

func TestPublishUnderTheGuard(t *testing.T) {
	p := newPlatform(t)
	steps := []struct{ update, base, want string }{
		{"7a", "", "stored"},
		{"7a", "", "duplicate"},
		{"7a", "6", "duplicate"},
		{"7b", "", "conflict"},
		{"6a", "", "stale"},
		{"8a", "6", "conflict"},
		{"8a", "7", "stored"},
		{"7a", "", "stale"},
		{"9007199254740993a", "", "stored"},
		{"9007199254740992a", "", "stale"},
		{"9007199254740993a", "", "duplicate"},
	}
	for _, channel := range []string{"latest", "every"} {
		for _, settled := range []bool{false, true} {
			for _, how := range []string{"reads", "remembers", "remembers, many", "guesses", "guesses, many"} {
				key := fmt.Sprintf("key/%t/%s", settled, how)
				t.Run(channel+"/"+key, func(t *testing.T) {
					pub := p.publisher(t)
					for i, s := range steps {
						if !strings.HasPrefix(how, "remembers") {
							pub = p.publisher(t)
						}
						if strings.HasPrefix(how, "guesses") { // the last key was new, so the next may be
							if _, err := pub.Publish(t.Context(), of(t, channel, fmt.Sprintf("new/%s/%d", key, i), "1a")); err != nil {
								t.Fatal(err)
							}
						}
						u := of(t, channel, key, s.update)
						if s.base != "" {
							u.Base = testkit.Version(t, s.base)
						}
						publish := pub.Publish
						if strings.HasSuffix(how, "many") {
							publish = func(ctx context.Context, u events.Update) (receipt events.Receipt, err error) {
								for receipt, err = range pub.PublishAll(ctx, slices.Values([]events.Update{u}), 4) {
								}
								return receipt, err
							}
						}
						receipt, err := publish(t.Context(), u)
						if got := verdictOf(receipt, err); got != s.want {
							t.Fatalf("step %d: %s on base %q = %s, want %s", i+1, s.update, s.base, got, s.want)
						}
						if err == nil && (receipt.Channel != channel || receipt.Key != key || receipt.Version != u.Version || receipt.ID == "") {
							t.Errorf("receipt = %+v", receipt)
						}
						if settled && s.want == "stored" {
							p.settle(t, channel, wire.Entry{Key: key, Settlement: events.Settlement{
								Version: u.Version, Digest: u.Digest(), Outcome: events.Delivered, At: time.Now(),
							}})
						}
					}
				})
			}
		}
	}
}

func TestRefusalNamesTheHead(t *testing.T) {
	pub := newPlatform(t).publisher(t)
	head := of(t, "latest", "k", "7a")
	if _, err := pub.Publish(t.Context(), head); err != nil {
		t.Fatal(err)
	}
	for _, u := range []events.Update{of(t, "latest", "k", "6a"), of(t, "latest", "k", "7b")} {
		_, err := pub.Publish(t.Context(), u)
		var refused *events.HeadError
		if !errors.As(err, &refused) || refused.Head != head.Tag() || refused.Refused != u.Tag() || refused.Channel != "latest" || refused.Key != "k" {
			t.Errorf("version %s: %v", u.Version, err)
		}
	}
}

// Many publishers of one key agree on one order: whatever each was told, the
// newest version is the head, and no version was stored after a newer one.
func TestCompetingPublishersNeverGoBack(t *testing.T) {
	p := newPlatform(t)
	r := testkit.Seeded(t)
	const writers, newest = 8, 40
	var all sync.WaitGroup
	for range writers {
		pub, order := p.publisher(t), rand.New(rand.NewSource(r.Int63())).Perm(newest)
		all.Go(func() {
			for _, n := range order {
				u := events.Update{Channel: "every", Key: "k", Version: versioning.Must(versioning.Number(int64(n + 1))), Payload: []byte("x")}
				_, err := pub.Publish(t.Context(), u)
				for errors.Is(err, events.ErrBusy) {
					_, err = pub.Publish(t.Context(), u)
				}
				if err != nil && !errors.Is(err, events.ErrStale) {
					t.Errorf("version %d: %v", n+1, err)
				}
			}
		})
	}
	all.Wait()
	stream, err := p.JS.Stream(t.Context(), wire.UpdateStream(p.names, events.ToChannel("every")))
	if err != nil {
		t.Fatal(err)
	}
	var last int64
	for seq := uint64(1); seq <= stream.CachedInfo().State.LastSeq; seq++ {
		msg, err := stream.GetMsg(t.Context(), seq)
		if err != nil {
			t.Fatal(err)
		}
		got, _ := testkit.Version(t, msg.Header.Get(events.HeaderVersion)).Int64()
		if got <= last {
			t.Errorf("version %d was stored after %d", got, last)
		}
		last = got
	}
	if last != newest {
		t.Errorf("the head is %d, want %d", last, newest)
	}
}

func TestPublishErrors(t *testing.T) {
	p := newPlatform(t)
	p.put(t, channels.Config{Name: "small", Mode: channels.Every, MaxBytes: 1 << 20})
	pub := p.publisher(t)
	large := strings.Repeat("x", 700_000)
	for i := range 2 { // the second one does not fit any more
		_, err := pub.Publish(t.Context(), events.Update{Channel: "small", Key: "k", Version: testkit.Version(t, fmt.Sprint(i+1)), Payload: []byte(large)})
		if i == 1 && !errors.Is(err, events.ErrFull) {
			t.Errorf("a full channel: %v, want ErrFull", err)
		} else if i == 0 && err != nil {
			t.Fatal(err)
		}
	}
	if _, err := pub.Publish(t.Context(), of(t, "latest", "mixed", "7a")); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		update events.Update
		want   error
	}{
		"unknown channel": {of(t, "other", "k", "7a"), events.ErrUnknownChannel},
		"invalid":         {events.Update{Channel: "latest", Key: "k"}, events.ErrInvalidUpdate},
		"too large":       {events.Update{Channel: "latest", Key: "k", Version: testkit.Version(t, "1"), Payload: make([]byte, 1<<20)}, events.ErrTooLarge},
		"a time after numbers": {
			events.Update{Channel: "latest", Key: "mixed", Version: testkit.Version(t, "2024-01-01T00:00:00Z")},
			versioning.ErrKindMismatch,
		},
	} {
		t.Run(name, func(t *testing.T) {
			receipt, err := pub.Publish(t.Context(), tt.update)
			if !errors.Is(err, tt.want) || receipt != (events.Receipt{}) {
				t.Errorf("= %+v, %v, want %v", receipt, err, tt.want)
			}
			if err != nil && strings.Contains(err.Error(), "\n") {
				t.Errorf("error %q is more than one line", err)
			}
		})
	}
}

func TestPublishWithoutBroker(t *testing.T) {
	p := newPlatform(t)
	pub := p.publisher(t)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	p.Stop(t)
	if _, err := pub.Publish(ctx, of(t, "latest", "k", "7a")); !errors.Is(err, events.ErrUnavailable) {
		t.Errorf("Publish: %v, want ErrUnavailable", err)
	}
	if _, err := pub.Outcome(ctx, "latest", "k", versioning.Tag{Version: testkit.Version(t, "7")}); !errors.Is(err, events.ErrUnavailable) {
		t.Errorf("Outcome: %v, want ErrUnavailable", err)
	}
	p.Start(t)
	if _, err := p.publisher(t).Publish(t.Context(), of(t, "latest", "k", "7a")); err != nil {
		t.Errorf("after the broker is back: %v", err)
	}
}

func TestNotProvisioned(t *testing.T) {
	b := natstest.Run(t)
	if _, err := publish.New(t.Context(), b.JS, events.DefaultNames()); !errors.Is(err, events.ErrNotProvisioned) {
		t.Errorf("NewPublisher: %v, want ErrNotProvisioned", err)
	}
}

// What a publisher without our code has stored wrongly must not block its key.
func TestUndecodableHeadIsOverwritten(t *testing.T) {
	p := newPlatform(t)
	for _, headers := range []nats.Header{nil, {"ce-entityversion": {"x"}}, {"Status": {"408"}}} {
		msg := nats.NewMsg(p.names.Update(events.ToChannel("latest"), "k"))
		msg.Header, msg.Data = headers, []byte("garbage")
		if _, err := p.JS.PublishMsg(t.Context(), msg); err != nil {
			t.Fatal(err)
		}
	}
	p.settle(t, "latest", wiretest.Entry(t, "7a", events.Delivered))
	pub := p.publisher(t)
	if _, err := pub.Publish(t.Context(), of(t, "latest", "k", "6a")); !errors.Is(err, events.ErrStale) {
		t.Errorf("older than the ledger: %v, want ErrStale", err)
	}
	if _, err := pub.Publish(t.Context(), of(t, "latest", "k", "8a")); err != nil {
		t.Errorf("newer than the ledger: %v", err)
	}
}
