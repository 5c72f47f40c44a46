package events

import (
	"context"
	"iter"

	"github.com/jellydator/ttlcache/v3"
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
		l := pipeline{p: p, ctx: ctx, last: make(map[string]*ticket, inFlight)}
		wanted := true
		for u := range updates {
			if len(l.window) >= max(1, inFlight) {
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
	window []*ticket       // oldest first
	last   map[string]*ticket
}

// A ticket is an update on its way. It has a future, or done, or a result.
type ticket struct {
	o       outgoing
	future  jetstream.PubAckFuture
	done    chan struct{} // closed when somebody else has put the result there
	receipt Receipt
	err     error
}

// start sends an update on its way. A key whose head is remembered, which is the
// case from its second update on, needs no goroutine: its update is published
// with the head's sequence expected, and its receipt is looked at when its turn
// comes. All else is for Publish.
func (l *pipeline) start(u Update) {
	t := &ticket{}
	l.window = append(l.window, t)
	if t.o, t.err = l.p.prepare(u); t.err != nil {
		return
	}
	if before := l.last[t.o.path]; before != nil {
		l.await(before) // its sequence is the one to expect
	}
	l.last[t.o.path] = t
	if item := l.p.heads.Get(t.o.path); item != nil {
		h := item.Value()
		verdict, err := versioning.Guard(h.tag, t.o.tag, t.o.u.Base)
		if err == nil && verdict == versioning.Newer && h.seq > 0 {
			t.future, err = l.p.pipe.PublishMsgAsync(t.o.msg, jetstream.WithExpectLastSequencePerSubject(h.seq))
			if err == nil {
				return
			}
		}
	}
	t.done = make(chan struct{})
	go func() {
		defer close(t.done)
		t.receipt, t.err = l.p.publish(l.ctx, &t.o)
	}()
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
	switch {
	case t.done != nil:
		<-t.done
		t.done = nil
	case t.future != nil:
		t.receipt, t.err = l.answered(t)
		t.future = nil
	}
	if l.last[t.o.path] == t {
		delete(l.last, t.o.path)
	}
}

// answered waits for the broker's answer. If somebody else has published the key
// meanwhile, or the broker has stored this very update before, it is for Publish
// to find out what that means.
func (l *pipeline) answered(t *ticket) (Receipt, error) {
	p := l.p
	select {
	case ack := <-t.future.Ok():
		if !ack.Duplicate {
			p.heads.Set(t.o.path, head{tag: t.o.tag, seq: ack.Sequence}, ttlcache.NoTTL)
			return t.o.receipt(ack.Sequence, false), nil
		}
	case err := <-t.future.Err():
		if !IsWrongSequence(err) {
			p.heads.Delete(t.o.path)
			return Receipt{}, unavailable(p.explain(l.ctx, t.o.u.Channel, err))
		}
	case <-l.ctx.Done():
		p.heads.Delete(t.o.path)
		return Receipt{}, unavailable(l.ctx.Err())
	}
	p.heads.Delete(t.o.path)
	return p.publish(l.ctx, &t.o)
}
