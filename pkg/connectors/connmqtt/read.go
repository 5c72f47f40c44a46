package connmqtt

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connkit"
	"github.com/hms-utl/extsync/pkg/events"
)

// mostTopics is how many topics are subscribed to at once.
const mostTopics = 50

// Read returns what the retained messages of the keys say.
func (c *connector) Read(ctx context.Context, keys []string) ([]connectors.Held, error) {
	out := make([]connectors.Held, len(keys))
	err := c.look(ctx, len(keys), func(i int) string { return keys[i] }, func(i int, m *paho.Publish) {
		out[i] = heldBy(m)
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// Compare looks whether the retained messages are still those of the attempts.
func (c *connector) Compare(ctx context.Context, attempts []connectors.Attempt) ([]connectors.Comparison, error) {
	out := make([]connectors.Comparison, len(attempts))
	err := c.look(ctx, len(attempts), func(i int) string { return attempts[i].Key }, func(i int, m *paho.Publish) {
		out[i] = connectors.Comparison{Held: heldBy(m), Changed: c.changed(&attempts[i], m)}
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

func heldBy(m *paho.Publish) connectors.Held {
	return heldOf(m.Properties.User.ToPacketProperties(), m.Payload)
}

// changed names what of a message is not as the attempt writes it.
func (c *connector) changed(a *connectors.Attempt, there *paho.Publish) (names []string) {
	if len(there.Payload) == 0 {
		return nil // nothing is kept
	}
	held := heldBy(there)
	if held.IsZero() {
		if a.Op == events.Delete {
			names = []string{"content"}
		}
		return names
	}
	m, bad := c.message(a)
	if bad != nil {
		return []string{"content"} // what is there is something else
	}
	if !bytes.Equal(m.Payload, there.Payload) {
		names = append(names, "content")
	}
	for _, p := range []struct {
		name        string
		want, there string
	}{
		{"content-type", m.Properties.ContentType, there.Properties.ContentType},
		{propDigest, a.Digest.String(), held.Digest.String()},
		{propOp, string(a.Op), string(held.Op)},
	} {
		if p.want != p.there {
			names = append(names, p.name)
		}
	}
	return names
}

// look reads the retained messages of n keys, and calls see for each that is there, once or
// more; the last call counts. It subscribes to their topics on a connection of its own.
//
// A broker does not say that a topic has no message. What has not come when nothing came for
// read_wait is taken for missing.
func (c *connector) look(ctx context.Context, n int, key func(int) string, see func(int, *paho.Publish)) (err error) {
	if n == 0 {
		return nil
	}
	ctx, cancel := connkit.Bounded(ctx, c.timeout)
	defer cancel()
	r := &reading{came: make(chan struct{}, 1)}
	s, err := c.dialer.dial(ctx, c.newClientID(), r.take)
	if err != nil {
		return c.classify(ctx, err)
	}
	defer s.hurry(ctx)()
	defer s.leave()
	all := make([]int, n)
	for i := range all {
		all[i] = i
	}
	for part := range slices.Chunk(all, mostTopics) {
		subscribe := &paho.Subscribe{}
		want := map[string][]int{}
		for _, i := range part {
			topic := c.topicOf(key(i))
			if want[topic] == nil {
				subscribe.Subscriptions = append(subscribe.Subscriptions, paho.SubscribeOptions{Topic: topic, QoS: atLeastOnce})
			}
			want[topic] = append(want[topic], i)
		}
		r.begin(want, see)
		ack, err := s.client.Subscribe(ctx, subscribe)
		if err != nil {
			return c.classify(ctx, s.unsubscribed(ack, err))
		}
		if err := r.wait(ctx, s, c.ReadWait.D()); err != nil {
			return c.classify(ctx, err)
		}
	}
	return nil
}

// unsubscribed returns the error of a subscription that failed.
func (s *session) unsubscribed(ack *paho.Suback, err error) error {
	if ack != nil {
		for _, code := range ack.Reasons {
			if code >= packets.SubackUnspecifiederror {
				r := &refusal{packet: packets.SUBACK, code: code}
				if ack.Properties != nil {
					r.reason = ack.Properties.ReasonString
				}
				return r
			}
		}
	}
	if errors.Is(err, paho.ErrConnectionLost) || s.isOver() {
		return s.why()
	}
	return err
}

// A reading waits for messages of topics.
type reading struct {
	came chan struct{} // has something when a message has come

	mu   sync.Mutex
	want map[string][]int // by topic
	seen map[string]bool
	see  func(int, *paho.Publish)
}

func (r *reading) begin(want map[string][]int, see func(int, *paho.Publish)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.want, r.seen, r.see = want, map[string]bool{}, see
}

// take takes a message. It does not wait.
func (r *reading) take(m *paho.Publish) {
	r.mu.Lock()
	defer r.mu.Unlock()
	which := r.want[m.Topic]
	if which == nil {
		return
	}
	for _, i := range which {
		r.see(i, m)
	}
	r.seen[m.Topic] = true
	select {
	case r.came <- struct{}{}:
	default:
	}
}

func (r *reading) isWhole() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.seen) == len(r.want)
}

// wait returns when every topic has had a message, or none came for so long.
func (r *reading) wait(ctx context.Context, s *session, quiet time.Duration) error {
	defer func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.want = nil // what comes now is too late
	}()
	timer := time.NewTimer(quiet)
	defer timer.Stop()
	for !r.isWhole() {
		select {
		case <-r.came:
			timer.Reset(quiet)
		case <-timer.C:
			return nil
		case <-s.over:
			return s.why()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
