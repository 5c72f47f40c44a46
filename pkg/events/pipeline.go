package events

import (
	"context"
	"errors"
	"iter"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/pkg/versioning"
)

// PublishAll publishes many updates as Publish does each, up to inFlight of them
// at once, and gives the receipt or the error of each in the order of the
// updates. Those of one key are published one after the other, in their order,
// others side by side. It does not stop at an error: that is for the caller, who
// leaves the loop, which waits for what is on its way. updates is read as far
// ahead as inFlight, by the goroutine that ranges over the result.
func (p *Publisher) PublishAll(ctx context.Context, updates iter.Seq[Update], inFlight int) iter.Seq2[Receipt, error] {
	return func(yield func(Receipt, error) bool) {
		l := pipeline{p: p, ctx: ctx, most: max(1, inFlight), last: make(map[string]*ticket, inFlight)}
		defer l.close()
		wanted := true
		for u := range updates {
			if len(l.window) >= l.most {
				wanted = yield(l.next())
			}
			if !wanted {
				break
			}
			l.start(u)
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
	burst  *Burst // nil until it is needed
	// under are the burst's messages from number first on; nil: answered, or given up.
	under []*ticket
	first int
}

// A ticket is an update on its way: in the burst, or with done, or with a result.
type ticket struct {
	o       outgoing
	sent    time.Time     // in the burst; zero: not, or answered
	number  int           // in the burst
	asked   bool          // what is in the burst is the question what the ledger has
	again   bool          // what the answer means is for Publish to find out
	done    chan struct{} // closed when somebody else has put the result there
	receipt Receipt
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
func (l *pipeline) start(u Update) {
	t := &ticket{}
	l.window = append(l.window, t)
	if t.o, t.err = l.p.prepare(u); t.err != nil {
		return
	}
	if t.err = l.p.at.check(l.ctx); t.err != nil {
		return
	}
	l.hear() // what the ledger has said is to be published
	if before := l.last[t.o.path]; before != nil {
		l.await(before) // its sequence is the one to expect
	}
	l.last[t.o.path] = t
	switch h, source := l.p.remembered(&t.o); source {
	case fromMemory:
		verdict, err := versioning.Guard(h.tag, t.o.tag, t.o.u.Base)
		if err == nil && verdict == versioning.Newer && h.seq > 0 && l.publish(t, h.seq) {
			return
		}
	case fromLedger:
		t.asked = l.send(t, l.p.ledger.question(t.o.u.Channel, t.o.enc))
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
	t.o.msg.Header[nats.ExpectedLastSubjSeqHdr] = []string{strconv.FormatUint(seq, 10)}
	return l.send(t, t.o.msg)
}

// send sends a message for an update. It returns false if it could not.
func (l *pipeline) send(t *ticket, msg *nats.Msg) bool {
	if l.burst == nil {
		// Those that were given up may be answered after all.
		burst, err := OpenBurst(l.p.js.Conn(), 2*l.most)
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
func (l *pipeline) next() (Receipt, error) {
	t := l.window[0]
	l.window = l.window[1:]
	l.await(t)
	return t.receipt, t.err
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
	if l.last[t.o.path] == t {
		delete(l.last, t.o.path)
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
	ctx, cancel := context.WithDeadline(l.ctx, t.sent.Add(defaultTimeout))
	defer cancel()
	a, err := l.burst.Next(ctx)
	switch {
	case err == nil:
		l.settle(a, nil)
	case errors.Is(err, nats.ErrDisconnected):
		for number := l.first; number < l.burst.Lost(); number++ {
			l.settle(Answer{Number: number}, err)
		}
	default:
		l.settle(Answer{Number: t.number}, err)
	}
}

// settle notes what came back for an update, or why nothing does.
func (l *pipeline) settle(a Answer, failed error) {
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
		l.p.heads.forget(t.o.path)
		t.err = unavailable(l.p.explain(l.ctx, t.o.u.Channel, failed))
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
	rec, err := l.p.ledger.answer(l.ctx, t.o.u.Channel, answer)
	if errors.Is(err, ErrNoRecord) {
		rec, err = Record{}, nil
	}
	if err != nil {
		return false
	}
	verdict, err := versioning.Guard(rec.Newest(), t.o.tag, t.o.u.Base)
	if err != nil || verdict != versioning.Newer {
		return false
	}
	if t.err = l.p.checkRoom(l.ctx, t.o.u.Channel, t.o.size); t.err != nil {
		t.err = unavailable(t.err)
		return true
	}
	return l.publish(t, 0)
}

// stored notes what the broker has said of an update that was published. It returns
// false if it is not stored, for now: if somebody else has published the key
// meanwhile, or the broker has stored this very update before, it is for Publish to
// find out what that means.
func (l *pipeline) stored(t *ticket, a Answer) bool {
	t.o.msg.Reply = ""
	seq, duplicate, err := a.Stored()
	if err == nil && !duplicate {
		l.p.heads.set(t.o.path, head{tag: t.o.tag, seq: seq})
		t.receipt = t.o.receipt(seq, false)
		return true
	}
	l.p.heads.forget(t.o.path)
	if IsWrongSequence(err) && t.o.msg.Header.Get(nats.ExpectedLastSubjSeqHdr) == "0" {
		l.p.fresh.Store(t.o.u.Channel, false) // it was not new
	}
	if err == nil || IsWrongSequence(err) || MeaningOf(err) == Repeat || errors.Is(err, jetstream.ErrNoStreamResponse) {
		return false
	}
	t.err = unavailable(l.p.explain(l.ctx, t.o.u.Channel, err))
	return true
}
