package delivery

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/delivery/internal/lanes"
	"github.com/hms-utl/extsync/pkg/events"
)

// A control does what administrators ask of the partition's owner.
type control struct{ t *tenure }

// listen answers what administrators ask of the partition's owner, until the
// returned function is called.
func (c control) listen() (stop func(), err error) {
	subject := wire.Control(c.t.b.names, c.t.p.r.entry.Config.Name, c.t.p.index)
	sub, err := c.t.b.js.Conn().Subscribe(subject, c.handle)
	if err != nil {
		return nil, fmt.Errorf("listen for administrators: %w", err)
	}
	return func() { _ = sub.Unsubscribe() }, nil // fails only with the connection
}

func (c control) handle(msg *nats.Msg) {
	var req channels.ControlRequest
	err := json.Unmarshal(msg.Data, &req)
	if err == nil {
		err = wire.CheckFormat(req.Format)
	}
	switch {
	case err != nil:
		c.answer(msg, err)
	case req.Op == channels.ControlReset && !c.t.takes(req.Key):
		c.resetPassed(req.Key, req.Void, func(err error) { c.answer(msg, err) })
	case req.Op == channels.ControlReset:
		c.resetKey(req.Key, req.Void, func(err error) { c.answer(msg, err) })
	case req.Op == channels.ControlRefs:
		c.setRefs(req.Key, req.Refs, func(err error) { c.answer(msg, err) })
	case req.Op == channels.ControlProbe:
		go c.probeNow(msg)
	case req.Op == channels.ControlReplay:
		go c.replay(msg, req.Letter)
	case req.Op == channels.ControlGiveUp:
		go c.giveUp(msg, req.Key)
	case req.Op == channels.ControlReadBack:
		go c.readBack(msg, req.Key)
	case req.Op == channels.ControlResync:
		signal(c.t.resyncs.wake)
		c.answer(msg, nil)
	default:
		c.answer(msg, fmt.Errorf("unknown operation %.40q", req.Op))
	}
}

// probeWait is how long an answer waits for the result of a probe. There may be no
// update to try it with.
const probeWait = 10 * time.Second

// probeNow has the target tried now if the channel waits for it, and answers with
// what came of it.
func (c control) probeNow(msg *nats.Msg) {
	t, g := c.t, c.t.p.r.gate
	timer := time.NewTimer(probeWait)
	defer timer.Stop()
	select {
	case <-g.Hurry():
	case <-timer.C:
	case <-t.ctx.Done():
	}
	reply := channels.ControlReply{Worker: t.p.r.worker}
	reply.Circuit, _, reply.Reason = g.Status()
	if next := g.NextProbe(); !next.IsZero() {
		reply.NextProbe = next.UnixMilli()
	}
	c.respond(msg, reply)
}

func (c control) answer(msg *nats.Msg, err error) {
	var reply channels.ControlReply
	if err != nil {
		reply.Error = err.Error()
	}
	c.respond(msg, reply)
}

func (c control) respond(msg *nats.Msg, reply channels.ControlReply) {
	reply.Format = wire.Format
	data, err := json.Marshal(reply)
	if err == nil {
		err = msg.Respond(data)
	}
	if err != nil {
		c.t.log.Warn().Err(err).Msg("answer an administrator")
	}
}

// resetKey makes the ledger forget a key, through the log like everything else,
// and calls done when the bucket, which publishers read, says so too. A key with updates in
// hand is left alone.
// void says what of the key does not count any more, whenever it comes.
func (c control) resetKey(key string, void *wire.Void, done func(error)) {
	t := c.t
	enc, err := events.EncodeKey(key)
	if err == nil && void == nil {
		err = errors.New("the request does not say what is void")
	}
	if err != nil {
		done(err)
		return
	}
	reset := lanes.Commit{
		Key: t.view.Pin(enc), Entry: wire.Entry{Key: key, Settlement: events.Settlement{Outcome: wire.Reset, At: timestamp()}, Void: void},
		Done: func() { t.view.Ask(done) },
	}
	t.begin()
	defer t.end()
	if !t.lanes.Reset(reset) {
		go done(channels.ErrKeyBusy)
		return
	}
	t.log.Warn().Str("key", key).Msg("key is reset by an administrator: its versions start anew")
}

// resetPassed resets a key of a topic that the channel does not take: it may have taken it
// once. Where there is no trace of it, none is left.
func (c control) resetPassed(key string, void *wire.Void, done func(error)) {
	t := c.t
	enc, err := events.EncodeKey(key)
	if err != nil {
		done(err)
		return
	}
	t.view.Ask(func(err error) { // from then on the bucket has all that there is
		go func() {
			if err == nil {
				_, err = t.b.ledger.GetOf(t.ctx, t.p.r.entry.Config.Name, t.p.r.entry.ID, enc)
			}
			switch {
			case errors.Is(err, events.ErrNoRecord):
				done(nil)
			case err != nil:
				done(err)
			default:
				c.resetKey(key, void, done)
			}
		}()
	})
}
