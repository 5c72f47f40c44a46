package compare

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/internal/faults"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

const (
	payloadPad = 230 // with the rest a payload has about 300 bytes
	// zipfSkew gives the hottest of 10,000 keys about a tenth of all updates.
	zipfSkew = 1.1
	pending  = 4000 // publishes under way while a backlog is made
)

// A load is the updates of one channel.
type load struct {
	channel string
	keys    int
	updates int
	zipf    bool
	seed    uint64
	partial bool // no acks for the keys that may fail
}

// each calls f with every update, in the order in which they are published.
func (l load) each(replyTo string, f func(events.Update) error) error {
	dice := rand.New(rand.NewPCG(l.seed, 1))
	zipf := rand.NewZipf(dice, zipfSkew, 1, uint64(l.keys-1))
	versions := make([]int64, l.keys)
	pad := strings.Repeat("x", payloadPad)
	for i := range l.updates {
		k := i % l.keys
		if l.zipf {
			k = int(zipf.Uint64())
		}
		versions[k]++
		key := keyName(k)
		payload, err := json.Marshal(map[string]any{"key": key, "version": versions[k], "content": pad})
		if err != nil {
			return err
		}
		u := events.Update{
			Channel: l.channel, Key: key, Version: versioning.Must(versioning.Number(versions[k])),
			Payload: payload, ReplyTo: replyTo, ReplyLines: true, Time: time.Unix(1_700_000_000, 0),
		}.WithDefaults()
		if err := f(u); err != nil {
			return err
		}
	}
	return nil
}

func keyName(k int) string { return fmt.Sprintf("k%06d", k) }

// publish makes the backlog and returns what the broker has.
func (l load) publish(ctx context.Context, nc jetstream.JetStream, replyTo string) ([]faults.Accepted, error) {
	js, err := jetstream.New(nc.Conn(), jetstream.WithPublishAsyncMaxPending(pending))
	if err != nil {
		return nil, err
	}
	names := events.DefaultNames()
	accepted := make([]faults.Accepted, 0, l.updates)
	futures := make([]jetstream.PubAckFuture, 0, l.updates)
	err = l.each(replyTo, func(u events.Update) error {
		if l.partial && failing(u.Key) {
			u.ReplyTo = ""
		}
		msg, err := wire.Encode(names, u)
		if err != nil {
			return err
		}
		future, err := js.PublishMsgAsync(msg, jetstream.WithStallWait(time.Minute))
		futures = append(futures, future)
		accepted = append(accepted, faults.Accepted{Key: u.Key, Tag: u.Tag()})
		return err
	})
	if err != nil {
		return nil, err
	}
	for _, future := range futures {
		select {
		case <-future.Ok():
		case err := <-future.Err():
			return nil, err
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return accepted, nil
}

// newestSum returns what the newest versions of all keys add up to, which is
// enough to see that a target has converged.
func newestSum(accepted []faults.Accepted, counts func(key string) bool) int64 {
	newest := map[string]int64{}
	var sum int64
	for _, a := range accepted {
		if n, _ := a.Version.Int64(); counts(a.Key) && n > newest[a.Key] {
			sum += n - newest[a.Key]
			newest[a.Key] = n
		}
	}
	return sum
}

// left returns what is delivered of a backlog: in a latest channel the newest of
// each key.
func left(accepted []faults.Accepted, mode channels.Mode) []faults.Accepted {
	if mode == channels.Every {
		return accepted
	}
	at := make(map[string]int, len(accepted))
	var out []faults.Accepted
	for _, a := range accepted {
		if i, ok := at[a.Key]; ok {
			out[i] = a
			continue
		}
		at[a.Key] = len(out)
		out = append(out, a)
	}
	return out
}
