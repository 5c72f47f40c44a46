package connmqtt

import (
	"context"
	"errors"
	"net/url"
	"time"

	"github.com/eclipse/paho.golang/packets"
	pahosession "github.com/eclipse/paho.golang/paho/session"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connkit"
)

// silence is how long a broker that owes an answer may say nothing at all before its
// connection is taken for dead, once a call has run out of time.
const silence = time.Second

// mostTries bounds how often a message that was never sent is given a new connection: each
// time somebody else's has ended the one before.
const mostTries = 8

// A connector sends retained messages to one broker.
type connector struct {
	Config
	dialer   *dialer
	pool     *pool
	timeout  time.Duration
	scrubber *connectors.Scrubber
}

// Compile-time checks of what the connector offers.
var (
	_ connectors.Connector = (*connector)(nil)
	_ connectors.Batcher   = (*connector)(nil)
	_ connectors.Prober    = (*connector)(nil)
	_ connectors.Reader    = (*connector)(nil)
	_ connectors.Comparer  = (*connector)(nil)
	_ connectors.Previewer = (*connector)(nil)
)

// MaxBatch returns the configuration's max_batch.
func (c *connector) MaxBatch() int { return c.Config.MaxBatch }

// Apply sends a message for each attempt, and waits until the broker has acknowledged all.
func (c *connector) Apply(ctx context.Context, attempts []connectors.Attempt) []connectors.Result {
	k := &call{c: c, results: make([]connectors.Result, len(attempts)), messages: make([]*packets.Publish, len(attempts))}
	which := make([]int, 0, len(attempts))
	for i := range attempts {
		m, bad := c.message(&attempts[i])
		if bad != nil {
			k.results[i] = connectors.Unasked(bad.Code, bad.Err)
			continue
		}
		k.messages[i] = m
		which = append(which, i)
	}
	if len(which) == 0 {
		return k.results
	}
	ctx, cancel := connkit.Bounded(ctx, c.timeout)
	defer cancel()
	s, err := c.pool.get(ctx)
	if err != nil {
		k.fail(ctx, which, err)
		return k.results
	}
	// One message for which the broker ends the connection takes all with it that are on
	// their way. They are sent again, each alone on a connection, so that only the bad one
	// fails.
	for _, i := range k.send(ctx, s, which, 1) {
		k.alone(ctx, i)
	}
	return k.results
}

// A call is one of Apply.
type call struct {
	c        *connector
	messages []*packets.Publish
	results  []connectors.Result
}

func (k *call) fail(ctx context.Context, which []int, err error) {
	res := k.c.failed(ctx, err)
	for _, i := range which {
		k.results[i] = res
	}
}

// alone sends a message while no other one is on its way.
func (k *call) alone(ctx context.Context, i int) {
	for range mostTries {
		s, err := k.c.pool.get(ctx)
		if err != nil {
			k.fail(ctx, []int{i}, err)
			return
		}
		if len(k.send(ctx, s, []int{i}, s.size)) == 0 {
			return
		}
	}
	k.fail(ctx, []int{i}, errNotSent)
}

var errNotSent = errors.New("the broker ended each connection before the message was sent")

// send sends these attempts, each with a weight of the broker's room, and fills in their
// results. It returns those for which the end of the connection says nothing: something else
// may have been the reason, or they were not sent.
func (k *call) send(ctx context.Context, s *session, which []int, weight int64) (unclear []int) {
	sent, unsent, err := k.publish(ctx, s, which, weight)
	begun := time.Now()
	var lost []int
	unanswered := false
	for _, m := range sent {
		packet, ok := m.wait(ctx)
		if !ok {
			unanswered = true
			k.fail(ctx, []int{m.attempt}, ctx.Err())
			continue
		}
		ack, ok := packet.Content.(*packets.Puback)
		switch {
		case !ok: // the connection ended
			lost = append(lost, m.attempt)
		case ack.ReasonCode >= packets.PubackUnspecifiedError:
			r := &refusal{packet: packets.PUBACK, code: ack.ReasonCode}
			if ack.Properties != nil {
				r.reason = ack.Properties.ReasonString
			}
			k.fail(ctx, []int{m.attempt}, r)
		default:
			k.results[m.attempt] = connectors.Done()
		}
	}
	if unanswered && s.wire.silentSince(begun, silence) {
		s.wire.end(errSilent)
	}
	if err != nil {
		k.fail(ctx, unsent, err)
		unsent = nil
	}
	if len(lost)+len(unsent) == 0 {
		return nil
	}
	why := s.why()
	if ctx.Err() != nil || !mayBeOne(why) {
		k.fail(ctx, append(lost, unsent...), why)
		return nil
	}
	if weight == s.size { // nothing else was on its way: this is for the one that was sent
		k.fail(ctx, lost, why)
		return unsent
	}
	return append(lost, unsent...)
}

// A message that was sent waits for its answer.
type sent struct {
	attempt int
	answer  <-chan packets.ControlPacket
}

// wait returns the answer, unless ctx ends before it comes.
func (m sent) wait(ctx context.Context) (packets.ControlPacket, bool) {
	select {
	case p := <-m.answer:
		return p, true
	default:
	}
	select {
	case p := <-m.answer:
		return p, true
	case <-ctx.Done():
		return packets.ControlPacket{}, false
	}
}

// publish writes messages until one cannot be sent. It returns those that were, and those
// that were not; err says why, nil if the connection was over.
func (k *call) publish(ctx context.Context, s *session, which []int, weight int64) (all []sent, unsent []int, err error) {
	hurried := s.hurry(ctx)
	s.wire.hold()
	defer func() {
		s.wire.release()
		hurried()
	}()
	all = make([]sent, 0, len(which))
	for n, i := range which {
		if err := ctx.Err(); err != nil {
			return all, which[n:], err
		}
		m := k.messages[i]
		if tooLarge(m, s.most) {
			k.results[i] = connectors.Unasked(codeTooLarge, errLarge)
			continue
		}
		if !s.room.TryAcquire(weight) {
			s.wire.release() // whoever makes room waits for what was written
			hurried()
			waits := time.Now()
			err := s.room.Acquire(ctx, weight)
			if err != nil && s.answeredNobody(waits, silence) { // it owes answers, and will not give them
				s.wire.end(errSilent)
			}
			hurried = s.hurry(ctx)
			s.wire.hold()
			if err != nil {
				return all, which[n:], err
			}
		}
		answer := make(chan packets.ControlPacket, 1)
		if err := s.add(m, answer, weight); err != nil {
			s.room.Release(weight)
			if errors.Is(err, pahosession.ErrNoConnection) {
				err = nil
			}
			return all, which[n:], err
		}
		all = append(all, sent{i, answer})
		_, _ = m.WriteTo(s.wire) // an error ends the connection, of which the answer tells
	}
	return all, nil, nil
}

// Probe looks whether the broker lets us in, keeps retained messages and takes QoS 1.
func (c *connector) Probe(ctx context.Context) error {
	ctx, cancel := connkit.Bounded(ctx, c.timeout)
	defer cancel()
	s, err := c.dialer.dial(ctx, c.newClientID(), nil)
	if err != nil {
		return c.classify(ctx, err)
	}
	s.leave()
	return nil
}

// Preview shows the message of an attempt.
func (c *connector) Preview(_ context.Context, a connectors.Attempt) (connectors.Preview, error) {
	m, bad := c.message(&a)
	if bad != nil {
		return connectors.Preview{}, bad
	}
	u := url.URL{Scheme: c.Scheme, Host: c.address(), Path: "/" + m.Topic}
	headers := map[string]string{"topic": m.Topic, "qos": "1", "retain": "true"}
	if m.Properties.ContentType != "" {
		headers["content_type"] = m.Properties.ContentType
	}
	for _, p := range m.Properties.User {
		headers[p.Key] = p.Value
	}
	return connectors.Preview{Method: "PUBLISH", URL: u.String(), Headers: headers, Body: m.Payload}, nil
}

// Close ends the connection.
func (c *connector) Close(context.Context) error {
	c.pool.close()
	return nil
}
