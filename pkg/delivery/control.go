package delivery

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/delivery/internal/lanes"
	"github.com/hms-utl/extsync/pkg/events"
)

// listen answers what administrators ask of the partition's owner, until the
// returned function is called.
func (t *tenure) listen() (stop func(), err error) {
	subject := t.b.names.Control(t.p.r.entry.Config.Name, t.p.index)
	sub, err := t.b.js.Conn().Subscribe(subject, t.handleControl)
	if err != nil {
		return nil, fmt.Errorf("listen for administrators: %w", err)
	}
	return func() { _ = sub.Unsubscribe() }, nil // fails only with the connection
}

func (t *tenure) handleControl(msg *nats.Msg) {
	var req channels.ControlRequest
	err := json.Unmarshal(msg.Data, &req)
	if err == nil {
		err = events.CheckFormat(req.Format)
	}
	switch {
	case err != nil:
		t.answer(msg, err)
	case req.Op == channels.ControlReset:
		t.resetKey(req.Key, req.Void, func(err error) { t.answer(msg, err) })
	case req.Op == channels.ControlProbe:
		go t.probeNow(msg)
	case req.Op == channels.ControlResync:
		signal(t.resyncs.wake)
		t.answer(msg, nil)
	default:
		t.answer(msg, fmt.Errorf("unknown operation %.40q", req.Op))
	}
}

// probeWait is how long an answer waits for the result of a probe. There may be no
// update to try it with.
const probeWait = 10 * time.Second

// probeNow has the target tried now if the channel waits for it, and answers with
// what came of it.
func (t *tenure) probeNow(msg *nats.Msg) {
	g := t.p.r.gate
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
	t.respond(msg, reply)
}

func (t *tenure) answer(msg *nats.Msg, err error) {
	var reply channels.ControlReply
	if err != nil {
		reply.Error = err.Error()
	}
	t.respond(msg, reply)
}

func (t *tenure) respond(msg *nats.Msg, reply channels.ControlReply) {
	reply.Format = events.Format
	data, err := json.Marshal(reply)
	if err == nil {
		err = msg.Respond(data)
	}
	if err != nil {
		t.log.Warn().Err(err).Msg("answer an administrator")
	}
}

// resetKey makes the ledger forget a key, through the log like everything else,
// and calls done when the bucket, which publishers read, says so too. A key with updates in flight is left alone.
// void says what of the key does not count any more, whenever it comes.
func (t *tenure) resetKey(key string, void *events.Void, done func(error)) {
	enc, err := events.EncodeKey(key)
	if err == nil && void == nil {
		err = errors.New("the request does not say what is void")
	}
	if err != nil {
		done(err)
		return
	}
	k := t.view.Pin(enc)
	defer t.view.Unpin(k)
	t.begin()
	defer t.end()
	if t.lanes.Has(enc) {
		go done(channels.ErrKeyBusy)
		return
	}
	t.lanes.Queue(lanes.Commit{
		Key: k, Entry: events.Entry{Key: key, Settlement: events.Settlement{Outcome: events.Reset, At: timestamp()}, Void: void},
		Done: func() { t.view.Ask(done) },
	})
	t.log.Warn().Str("key", key).Msg("key is reset by an administrator: its versions start anew")
}
