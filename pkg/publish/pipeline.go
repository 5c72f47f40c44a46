package publish

import (
	"context"
	"errors"
	"iter"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// PublishAll publishes many updates as Publish does each, up to inFlight of them
// at once, and gives the receipt or the error of each in the order of the
// updates. Those of one key are published one after the other, in their order,
// others side by side. It does not stop at an error: that is for the caller, who
// leaves the loop, which waits for what is on its way. An update that may be stored
// when it is published again holds back those of its key that were already taken from
// updates: they are not sent and fail with its error, so that a caller who publishes
// each again, in the order in which they failed, keeps the order. updates is read as
// far ahead as inFlight, by the goroutine that ranges over the result.
func (p *Publisher) PublishAll(ctx context.Context, updates iter.Seq[events.Update], inFlight int) iter.Seq2[events.Receipt, error] {
	return func(yield func(events.Receipt, error) bool) {
		l := pipeline{p: p, ctx: ctx, most: max(1, inFlight), last: make(map[string]*ticket, inFlight)}
		defer l.close()
		wanted := true
		for u := range updates {
			l.start(u)
			// Before another one is taken the caller knows what became of the oldest: one that
			// failed holds back those of its key that were taken, and no others.
			if len(l.window) >= l.most {
				wanted = yield(l.next())
			}
			if !wanted {
				break
			}
		}
		for len(l.window) > 0 {
			receipt, err := l.next()
			wanted = wanted && yield(receipt, err)
		}
	}
}

// A pipeline is a PublishAll under way.
type pipeline struct {
	p      *Publisher
	ctx    context.Context //nolint:containedctx // it lives as long as the call
	most   int             // in window
	window []*ticket       // oldest first
	last   map[string]*ticket
	burst  *wire.Burst // nil until it is needed
	// under are the burst's messages from number first on; nil: answered, or given up.
	under []*ticket
	first int
}

// A ticket is an update on its way: in the burst, or with done, or with a result.
type ticket struct {
	o       wire.Outgoing
	sent    time.Time     // in the burst; zero: not, or answered
	number  int           // in the burst
	asked   bool          // what is in the burst is the question what the ledger has
	again   bool          // what the answer means is for Publish to find out
	done    chan struct{} // closed when somebody else has put the result there
	receipt events.Receipt
	err     error
}

func (l *pipeline) close() {
	if l.burst != nil {
		l.burst.Close()
	}
}

// start sends an update on its way. A key whose head is remembered, which is the
// case from its second update on, needs no goroutine: its update is published
// with the head's sequence expected, and its receipt is looked at when its turn
// comes. Nor does one that is taken for new: the ledger is asked first, and then it
// is published. All else is for Publish.
func (l *pipeline) start(u events.Update) {
	t := &ticket{}
	l.window = append(l.window, t)
	if t.o, t.err = l.p.prepare(u); t.err != nil {
		return
	}
	before := l.last[t.o.Path]
	l.last[t.o.Path] = t
	if before != nil {
		l.await(before) // its sequence is the one to expect
		if before.err != nil && !refused(before.err) {
			t.err = before.err
			return
		}
	}
	if t.err = l.p.at.check(l.ctx); t.err != nil {
		return
	}
	l.hear() // what the ledger has said is to be published
	switch h, source := l.p.remembered(&t.o); source {
	case fromMemory:
		verdict, err := versioning.Guard(h.tag, t.o.Tag, t.o.Update.Base)
		if err == nil && verdict == versioning.Newer && h.seq > 0 && l.publish(t, h.seq) {
			return
		}
	case fromLedger:
		if u.Topic != "" {
			if t.err = l.room(t); t.err != nil || l.publish(t, 0) {
				return
			}
			break
		}
		t.asked = l.send(t, l.p.ledger.Question(t.o.Update.Channel, t.o.EncodedKey))
		if t.asked {
			return
		}
	}
	t.done = make(chan struct{})
	go func() {
		defer close(t.done)
		t.receipt, t.err = l.p.publish(l.ctx, &t.o)
	}()
}

// publish sends an update, to be stored if the last message of its key has a
// sequence. It returns false if it could not.
func (l *pipeline) publish(t *ticket, seq uint64) bool {
	t.o.Msg.Header[nats.ExpectedLastSubjSeqHdr] = []string{strconv.FormatUint(seq, 10)}
	return l.send(t, t.o.Msg)
}

// send sends a message for an update. It returns false if it could not.
func (l *pipeline) send(t *ticket, msg *nats.Msg) bool {
	if l.burst == nil {
		// Those that were given up may be answered after all.
		burst, err := wire.OpenBurst(l.p.js.Conn(), 2*l.most)
		if err != nil {
			return false
		}
		l.burst = burst
	}
	number, err := l.burst.Send(msg)
	if err != nil {
		return false
	}
	if len(l.under) == 0 {
		l.first = number
	}
	l.under = append(l.under, t)
	t.number, t.sent = number, time.Now()
	return true
}

// next takes the oldest update out of the window.
func (l *pipeline) next() (events.Receipt, error) {
	t := l.window[0]
	l.window = l.window[1:]
	l.await(t)
	if l.last[t.o.Path] == t {
		delete(l.last, t.o.Path)
	}
	return t.receipt, t.err
}

// refused reports whether an error is an answer to an update that stays: it need not
// be published again.
func refused(err error) bool {
	return errors.Is(err, events.ErrStale) || errors.Is(err, events.ErrConflict) || errors.Is(err, events.ErrInvalidUpdate) || errors.Is(err, events.ErrTooLarge)
}

// await waits for the result of an update.
func (l *pipeline) await(t *ticket) {
	if t.done != nil {
		<-t.done
		t.done = nil
	}
	for !t.sent.IsZero() {
		l.listen(t)
	}
	if t.again {
		t.again = false
		t.receipt, t.err = l.p.publish(l.ctx, &t.o)
	}
}

// hear takes the answers that have come.
func (l *pipeline) hear() {
	for l.burst != nil {
		a, ok := l.burst.Waiting()
		if !ok {
			return
		}
		l.settle(a, nil)
	}
}

// listen takes the next answer, to whichever update, while it waits for that to t.
func (l *pipeline) listen(t *ticket) {
	a, ok := l.burst.Waiting()
	if ok {
		l.settle(a, nil)
		return
	}
	ctx, cancel := context.WithDeadline(l.ctx, t.sent.Add(wire.DefaultTimeout))
	defer cancel()
	a, err := l.burst.Next(ctx)
	switch {
	case err == nil:
		l.settle(a, nil)
	case errors.Is(err, nats.ErrDisconnected):
		for number := l.first; number < l.burst.Lost(); number++ {
			l.settle(wire.Answer{Number: number}, err)
		}
	default:
		l.settle(wire.Answer{Number: t.number}, err)
	}
}

// settle notes what came back for an update, or why nothing does.
func (l *pipeline) settle(a wire.Answer, failed error) {
	place := a.Number - l.first
	if place < 0 || place >= len(l.under) || l.under[place] == nil {
		return // given up before
	}
	t := l.under[place]
	l.under[place], t.sent = nil, time.Time{}
	for len(l.under) > 0 && l.under[0] == nil {
		l.under = l.under[1:]
		l.first++
	}
	switch {
	case failed != nil:
		l.p.heads.forget(t.o.Path)
		t.err = wire.MarkUnavailable(l.p.explain(l.ctx, t.o.Route, failed))
	case t.asked:
		t.asked = false
		t.again = !l.guarded(t, a.Data)
	default:
		t.again = !l.stored(t, a)
	}
}

// guarded publishes an update of which the ledger has no newer version. It returns
// false if that is not so, or not known.
func (l *pipeline) guarded(t *ticket, answer []byte) bool {
	rec, err := l.p.ledger.Answer(l.ctx, t.o.Update.Channel, answer)
	if errors.Is(err, events.ErrNoRecord) {
		rec, err = wire.Record{}, nil
	}
	if err != nil {
		return false
	}
	verdict, err := versioning.Guard(rec.Newest(), t.o.Tag, t.o.Update.Base)
	if err != nil || verdict != versioning.Newer {
		return false
	}
	if t.err = l.room(t); t.err != nil {
		return true
	}
	return l.publish(t, 0)
}

// room checks that there is room for a new key.
func (l *pipeline) room(t *ticket) error {
	if err := l.p.checkRoom(l.ctx, &t.o); err != nil {
		return wire.MarkUnavailable(err)
	}
	return nil
}

// stored notes what the broker has said of an update that was published. It returns
// false if it is not stored, for now: if somebody else has published the key
// meanwhile, or the broker has stored this very update before, it is for Publish to
// find out what that means.
func (l *pipeline) stored(t *ticket, a wire.Answer) bool {
	t.o.Msg.Reply = ""
	seq, duplicate, err := a.Stored()
	if err == nil && !duplicate {
		l.p.heads.set(t.o.Path, head{tag: t.o.Tag, seq: seq})
		t.receipt = receipt(&t.o, seq, false)
		return true
	}
	l.p.heads.forget(t.o.Path)
	if wire.IsWrongSequence(err) && t.o.Msg.Header.Get(nats.ExpectedLastSubjSeqHdr) == "0" {
		l.p.fresh.Store(t.o.Route, false) // it was not new
	}
	if err == nil || wire.IsWrongSequence(err) || wire.MeaningOf(err) == wire.Repeat || errors.Is(err, jetstream.ErrNoStreamResponse) {
		return false
	}
	t.err = wire.MarkUnavailable(l.p.explain(l.ctx, t.o.Route, err))
	return true
}
