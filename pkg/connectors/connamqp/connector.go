package connamqp

import (
	"context"
	"errors"
	"net/url"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/hms-utl/extsync/pkg/connectors"
)

// A connector sends messages to one exchange or queue.
type connector struct {
	Config
	pool     *pool
	scrubber *connectors.Scrubber
}

// Compile-time checks of what the connector offers.
var (
	_ connectors.Connector = (*connector)(nil)
	_ connectors.Batcher   = (*connector)(nil)
	_ connectors.Prober    = (*connector)(nil)
	_ connectors.Previewer = (*connector)(nil)
)

// MaxBatch returns the configuration's max_batch.
func (c *connector) MaxBatch() int { return c.Config.MaxBatch }

// Apply sends a message for each attempt, and waits until the broker has confirmed all.
func (c *connector) Apply(ctx context.Context, attempts []connectors.Attempt) []connectors.Result {
	results := make([]connectors.Result, len(attempts))
	if len(attempts) == 0 {
		return results
	}
	s, err := c.pool.get(ctx)
	if err != nil {
		res := c.failed(ctx, err)
		for i := range results {
			results[i] = res
		}
		return results
	}
	ok := &call{c: c, s: s, attempts: attempts, results: results, answered: true}
	defer func() { s.give(!ok.answered) }()
	which := make([]int, len(attempts))
	for i := range which {
		which[i] = i
	}
	// One message that the broker refuses takes with it those on its lane that were not
	// confirmed. They are sent again, each by itself, so that only the bad one fails.
	for _, i := range ok.send(ctx, which) {
		ok.send(ctx, []int{i})
	}
	return results
}

// A call is one of Apply, on a session.
type call struct {
	c        *connector
	s        *session
	attempts []connectors.Attempt
	results  []connectors.Result
	answered bool // everything that was sent
}

func (k *call) fail(ctx context.Context, which []int, err error) {
	res := k.c.failed(ctx, err)
	for _, i := range which {
		k.results[i] = res
	}
}

// A sent message waits for its confirmation.
type sent struct {
	attempt int
	confirm *amqp.DeferredConfirmation
}

// send sends these attempts on one lane, and fills in their results. It returns those of
// them, if there was more than one, of which the broker has refused one without saying which.
func (k *call) send(ctx context.Context, which []int) (unclear []int) {
	if k.s.blocked.Load() {
		k.fail(ctx, which, errBlocked)
		return nil
	}
	l, err := k.s.lane(ctx)
	if err != nil {
		k.fail(ctx, which, err)
		return nil
	}
	all, open := k.publish(ctx, l, which)
	for _, m := range all {
		select {
		case <-m.confirm.Done():
			continue
		case <-ctx.Done():
		}
		break
	}
	answered := true
	back := returned(l)
	for _, m := range all {
		select {
		case <-m.confirm.Done():
		default:
			answered = false
			if k.s.blocked.Load() {
				k.fail(ctx, []int{m.attempt}, errBlocked)
			} else {
				k.fail(ctx, []int{m.attempt}, ctx.Err())
			}
			continue
		}
		text, isBack := back[k.attempts[m.attempt].Key]
		switch {
		case m.confirm.Acked() && isBack:
			k.fail(ctx, []int{m.attempt}, &unroutableError{text})
		case m.confirm.Acked():
			k.results[m.attempt] = connectors.Done()
		case l.ch.IsClosed():
			open = append(open, m.attempt)
		default:
			k.fail(ctx, []int{m.attempt}, errNack)
		}
	}
	k.answered = k.answered && answered
	k.s.end(l, answered)
	if len(open) == 0 {
		return nil
	}
	err = k.s.wire.why(l.why(ctx))
	if len(which) > 1 && ctx.Err() == nil && k.c.mayBeOne(err) {
		return open
	}
	k.fail(ctx, open, err)
	return nil
}

// publish sends messages until one cannot be sent. It returns those that were, and the
// attempts of those that were not.
func (k *call) publish(ctx context.Context, l *lane, which []int) (all []sent, open []int) {
	defer k.s.hurry(ctx)()
	all = make([]sent, 0, len(which))
	for n, i := range which {
		a := &k.attempts[i]
		m := message(a)
		if err := tooLong(&m, k.s.conn.Config.FrameSize); err != nil {
			k.results[i] = connectors.Unasked(codeTooLong, err)
			continue
		}
		confirm, err := l.ch.PublishWithDeferredConfirm(k.c.Exchange, k.c.routingKey(a.Key), true, false, m)
		if err != nil {
			return all, append(open, which[n:]...)
		}
		all = append(all, sent{i, confirm})
	}
	return all, open
}

// returned takes what the broker has given back of a lane: for each key why. The library has
// put a message here before it says that it was confirmed.
func returned(l *lane) map[string]string {
	var out map[string]string
	for {
		select {
		case r, more := <-l.returns:
			if !more {
				return out
			}
			if key, ok := r.Headers[headerKey].(string); ok {
				if out == nil {
					out = map[string]string{}
				}
				out[key] = r.ReplyText
			}
		default:
			return out
		}
	}
}

// why returns the reason for which a lane is being closed.
func (l *lane) why(ctx context.Context) error {
	select {
	case err := <-l.closed:
		if err != nil {
			return err
		}
	case <-ctx.Done():
	}
	return amqp.ErrClosed
}

// mayBeOne reports whether a lane was closed for what one message is, and not for all.
func (c *connector) mayBeOne(err error) bool {
	var e *amqp.Error
	if !errors.As(err, &e) || !e.Server {
		return false
	}
	switch e.Code {
	case amqp.PreconditionFailed, amqp.ContentTooLarge:
		return true
	case amqp.AccessRefused: // brokers can allow single routing keys
		return c.AppendKey
	default:
		return false
	}
}

// Probe looks whether the exchange, or the queue, is there.
func (c *connector) Probe(ctx context.Context) error {
	s, err := c.pool.get(ctx)
	if err != nil {
		return c.classify(ctx, err)
	}
	defer s.give(false)
	if s.blocked.Load() {
		return c.classify(ctx, errBlocked)
	}
	l, err := s.lane(ctx)
	if err != nil {
		return c.classify(ctx, err)
	}
	defer s.end(l, true)
	defer s.hurry(ctx)()
	if c.Exchange != "" {
		err = l.ch.ExchangeDeclarePassive(c.Exchange, amqp.ExchangeDirect, true, false, false, false, nil)
	} else {
		_, err = l.ch.QueueDeclarePassive(c.RoutingKey, true, false, false, false, nil)
	}
	if err != nil {
		return c.classify(ctx, s.wire.why(err))
	}
	return nil
}

// Preview shows the message of an attempt.
func (c *connector) Preview(_ context.Context, a connectors.Attempt) (connectors.Preview, error) {
	m := message(&a)
	if err := tooLong(&m, mostFrame); err != nil {
		return connectors.Preview{}, err
	}
	u := url.URL{Scheme: c.Scheme, Host: c.address(), Path: "/" + c.VHost, RawPath: "/" + url.PathEscape(c.VHost)}
	headers := map[string]string{
		"exchange": c.Exchange, "routing_key": c.routingKey(a.Key), "message_id": m.MessageId, "content_type": m.ContentType,
	}
	for name, value := range m.Headers {
		headers[name] = value.(string) // all are
	}
	return connectors.Preview{Method: "PUBLISH", URL: u.String(), Headers: headers, Body: a.Payload}, nil
}

// Close ends the connection.
func (c *connector) Close(context.Context) error {
	c.pool.close()
	return nil
}
