package delivery

import (
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/events"
)

// giveUpWait is for how long the end of an update is awaited that is to be given up. Its
// attempt may be under way, or due.
const giveUpWait = 10 * time.Second

// giveUp ends the pending update of a key, and answers with its outcome.
func (c control) giveUp(msg *nats.Msg, key string) {
	t := c.t
	enc, err := events.EncodeKey(key)
	if err != nil {
		c.answer(msg, err)
		return
	}
	ended := make(chan events.Settlement, 1)
	if !c.end(enc, func(s events.Settlement) { ended <- s }) {
		c.answer(msg, channels.ErrNotPending)
		return
	}
	timer := time.NewTimer(giveUpWait)
	defer timer.Stop()
	select {
	case s := <-ended:
		c.awaitLedger(timer.C)
		t.log.Warn().Str("key", key).Str("outcome", string(s.Outcome)).Msg("an administrator had the key's update given up")
		c.respond(msg, channels.ControlReply{Worker: t.p.r.worker, Settled: &s})
		return
	case <-timer.C:
	case <-t.ctx.Done():
	}
	t.begin()
	t.lanes.KeepOn(enc)
	t.end()
	c.answer(msg, fmt.Errorf("it did not end in %s; look at the key again", giveUpWait))
}

// end has what is pending of a key given up, and reports false if nothing is.
func (c control) end(enc string, tell func(events.Settlement)) bool {
	t, room := c.t, new(workspace)
	t.begin()
	there := t.lanes.GiveUp(enc, tell)
	t.calls.takeErrands(room)
	t.end()
	if !there {
		return false
	}
	t.calls.runErrands(room)
	t.begin()
	defer t.end()
	t.lanes.CallEnded(false)
	return true
}

// awaitLedger waits until the bucket, which people read, says what the log says, or until
// the time is over.
func (c control) awaitLedger(over <-chan time.Time) {
	written := make(chan struct{})
	c.t.view.Ask(func(error) { close(written) })
	select {
	case <-written:
	case <-over:
	case <-c.t.ctx.Done():
	}
}
