package integration

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hms-utl/extsync/internal/faults"
	"github.com/hms-utl/extsync/internal/natsserver/natstest"
	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/publish"
)

// next returns what a channel gets next, or fails the test.
func next[T any](t testing.TB, what string, from <-chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(testkit.Patience):
		t.Fatalf("%s did not come in %s", what, testkit.Patience)
		panic("unreachable")
	}
}

// deliveredOnce fails unless the update is delivered, once in the ledger's list,
// and all that the target applied is this one version.
func deliveredOnce(r *rig, u events.Update, tg *faults.HTTPTarget) {
	r.t.Helper()
	if ack := r.outcome(u); ack.Outcome != events.Delivered {
		r.t.Fatalf("outcome %+v", ack)
	}
	r.stopWorkers() // what is known is in the ledger now
	rec, err := r.ledger.Get(r.t.Context(), u.Channel, u.Key)
	r.must(err)
	if len(rec.Recent) != 1 || rec.Recent[0].Version != u.Version || rec.Applied.Tag != u.Tag() {
		r.t.Errorf("ledger %+v", rec)
	}
	log := faults.NewLogReader(r.js, r.names, u.Channel)
	r.verify(log, channels.Latest, []faults.Accepted{{Key: u.Key, Tag: u.Tag()}}, func() (faults.History, error) { return tg.History(), nil })
}

// The worker dies after the target has applied a version and before it has
// answered: nobody knows, so the version is written again (guarantee 1).
func TestKilledBetweenWriteAndAnswer(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	tg := faults.NewHTTPTarget(t, faults.HTTPOptions{})
	r.channel("c", channels.Latest, "http", tg.Connector())
	first := r.worker("first")
	killed := make(chan struct{})
	tg.OnWrite(func(faults.Write) {
		tg.OnWrite(nil)
		first.Kill()
		close(killed)
	})
	u := update("c", "k", 7, 0)
	_, err := r.pub.Publish(t.Context(), u)
	r.must(err)
	next(t, "the write", killed)
	r.worker("second")
	deliveredOnce(r, u, tg)
	h := tg.History()
	if len(h.Writes) != 2 || h.Writes[0].Worker != "first" || h.Writes[1].Worker != "second" {
		t.Errorf("writes %+v", h.Writes)
	}
}

// The worker dies after the outcome is in the log and before JetStream is acked:
// the successor settles by the log and does not call the target again
// (guarantees 1 and 3). The broker's answers are held back so that the ack cannot
// win the race.
func TestKilledBetweenOutcomeAndSettle(t *testing.T) {
	t.Parallel()
	broker := natstest.Run(t, natstest.Options{TCP: true})
	r := newRigAt(t, faults.NewCrew(t), broker.URL(), 1)
	tg := faults.NewHTTPTarget(t, faults.HTTPOptions{})
	r.channel("c", channels.Latest, "http", tg.Connector())
	acks := make(chan *nats.Msg, 8)
	_, err := r.nc.ChanSubscribe("_INBOX.faults.>", acks)
	r.must(err)
	outcomes := make(chan *nats.Msg, 64)
	_, err = r.nc.ChanSubscribe("sync.out.>", outcomes)
	r.must(err)

	proxy := faults.NewProxy(t, broker.URL()[len("nats://"):])
	first := r.workerAt("first", "nats://"+proxy.Addr())
	tg.OnWrite(func(faults.Write) { proxy.FreezeAnswers() })
	u := update("c", "k", 7, 0)
	u.ReplyTo = "_INBOX.faults.1"
	_, err = r.pub.Publish(t.Context(), u)
	r.must(err)
	for {
		g, err := wire.DecodeGroup(next(t, "the outcome", outcomes).Data)
		r.must(err)
		if len(g.Entries) > 0 {
			break
		}
	}
	first.Kill()
	if len(acks) != 0 {
		t.Fatal("the ack was sent before the broker had confirmed the outcome")
	}
	tg.OnWrite(nil)

	r.worker("second")
	ack, err := publish.DecodeAck(next(t, "the ack", acks).Data)
	if err != nil || ack.Outcome != events.Delivered || ack.Version != u.Version {
		t.Errorf("ack %+v, %v", ack, err)
	}
	deliveredOnce(r, u, tg)
	if calls, _, _ := tg.Counts(); calls != 1 {
		t.Errorf("the target was called %d times", calls)
	}
}

// A publisher that restarts reads what became of its update from the ledger, and
// as a named service from the stream of acks.
func TestPublisherRestartsAndReadsItsOutcome(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	tg := faults.NewHTTPTarget(t, faults.HTTPOptions{})
	r.channel("c", channels.Latest, "http", tg.Connector())
	u := update("c", "p/2023 vax", 7, 0)
	var err error
	u.ReplyTo, err = r.names.ServiceAck("portal", "request-1")
	r.must(err)
	_, err = r.pub.Publish(t.Context(), u)
	r.must(err)
	r.nc.Close() // the publisher is no more

	again := newRigAt(t, r.crew, r.url, 1)
	again.worker("w")
	if ack := again.outcome(u); ack.Outcome != events.Delivered || ack.Version != u.Version {
		t.Errorf("from the ledger: %+v", ack)
	}
	stream, err := again.js.Stream(t.Context(), "SYNC_ACKS")
	again.must(err)
	msg, err := stream.GetLastMsgForSubject(t.Context(), "sync.acks.portal.request-1")
	again.must(err)
	ack, err := publish.DecodeAck(msg.Data)
	if err != nil || ack.Outcome != events.Delivered || ack.Key != u.Key || ack.Version != u.Version || ack.Channel != "c" {
		t.Errorf("from the stream: %+v, %v", ack, err)
	}
}

// What was published while nobody listened, and by whom, makes no difference: a
// worker that was not there finds it.
func TestWorkerFindsWhatWasPublishedBefore(t *testing.T) {
	t.Parallel()
	for _, mode := range []channels.Mode{channels.Latest, channels.Every} {
		t.Run(string(mode), func(t *testing.T) {
			r := newRig(t)
			tg := faults.NewHTTPTarget(t, faults.HTTPOptions{})
			r.channel("c", mode, "http", tg.Connector())
			p := r.publish(load{channel: "c", keys: 5, updates: 50})
			accepted := p.wait(r)
			r.worker("w")
			r.check("c", mode, accepted, func() (faults.History, error) { return tg.History(), nil })
			if _, writes, _ := tg.Counts(); mode == channels.Latest && writes != 5 || mode == channels.Every && writes != 50 {
				t.Errorf("%d writes", writes)
			}
		})
	}
}

// collect returns the entries of the outcome log that come until one of them
// fits.
func collect(ctx context.Context, t testing.TB, log *faults.LogReader, fits func(faults.Logged) bool) []faults.Logged {
	t.Helper()
	testkit.Eventually(t, "the entry in the outcome log", func() bool {
		return log.CatchUp(ctx) == nil && slices.ContainsFunc(log.Entries, fits)
	})
	return log.Entries
}
