package sim_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/internal/natsserver/natstest"
	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/delivery/internal/sim"
	"github.com/hms-utl/extsync/pkg/events"
)

// What the simulated broker answers is what the real one answers, to all that the engine
// asks: a simulation of something else would prove nothing.
func TestSimulatedBrokerAnswersAsTheRealOne(t *testing.T) {
	real := natstest.Run(t)
	nc, err := nats.Connect("", nats.InProcessServer(sim.New().Link("c", 1, time.Microsecond)))
	testkit.Must(t, err)
	defer nc.Close()
	js, err := jetstream.New(nc)
	testkit.Must(t, err)
	want, got := dialogue(t, real.JS), dialogue(t, js)
	t.Logf("%d answers", len(want))
	for i := range max(len(want), len(got)) {
		var w, g string
		if i < len(want) {
			w = want[i]
		}
		if i < len(got) {
			g = got[i]
		}
		if w != g {
			t.Errorf("the real broker: %s\n          simulated: %s", w, g)
		}
	}
}

// A talk notes what a broker answers.
type talk struct {
	t     testing.TB
	js    jetstream.JetStream
	lines []string
}

func (k *talk) say(what string, args ...any) { k.lines = append(k.lines, fmt.Sprintf(what, args...)) }

// meaning says what an answer means to the engine.
func meaning(err error) string {
	var api *jetstream.APIError
	switch {
	case err == nil:
		return "done"
	case errors.As(err, &api):
		return fmt.Sprintf("error %d", api.ErrorCode)
	default:
		return err.Error()
	}
}

// dialogue goes through everything once and returns what was answered.
func dialogue(t testing.TB, js jetstream.JetStream) []string {
	k := &talk{t: t, js: js}
	k.queue()
	k.bucket()
	k.current()
	return k.lines
}

func (k *talk) publish(subject, id string, expect int64, data string) {
	msg := nats.NewMsg(subject)
	msg.Data = []byte(data)
	if id != "" {
		msg.Header.Set(nats.MsgIdHdr, id)
	}
	if expect >= 0 {
		msg.Header.Set(nats.ExpectedLastSubjSeqHdr, fmt.Sprint(expect))
	}
	ack, err := k.js.PublishMsg(k.t.Context(), msg)
	if err != nil {
		k.say("publish %s %s after %d: %s", subject, id, expect, meaning(err))
		return
	}
	k.say("publish %s %s after %d: %d, duplicate %t", subject, id, expect, ack.Sequence, ack.Duplicate)
}

// queue is a work queue with its consumer, as of a channel in every mode.
func (k *talk) queue() {
	ctx := k.t.Context()
	source, destination := wire.UpdateTransform(events.DefaultNames(), events.ToChannel("cal"))
	stream, err := k.js.CreateStream(ctx, jetstream.StreamConfig{
		Name: "Q", Subjects: []string{source}, SubjectTransform: &jetstream.SubjectTransformConfig{Source: source, Destination: destination},
		Retention: jetstream.WorkQueuePolicy, Discard: jetstream.DiscardNew, AllowDirect: true, Storage: jetstream.MemoryStorage,
	})
	testkit.Must(k.t, err)
	for i, key := range []string{"a", "b", "a", "c"} {
		k.publish(events.DefaultNames().Update(events.ToChannel("cal"), key), fmt.Sprint(i), -1, key)
	}
	k.publish(events.DefaultNames().Update(events.ToChannel("cal"), "a"), "2", -1, "again")
	k.publish(events.DefaultNames().Update(events.ToChannel("cal"), "a"), "9", 1, "wrong")
	k.publish(events.DefaultNames().Update(events.ToChannel("cal"), "b"), "10", 2, "right")
	info, err := stream.Info(ctx, jetstream.WithSubjectFilter(wire.StoredUpdates(events.DefaultNames(), events.ToChannel("cal"))))
	testkit.Must(k.t, err)
	k.say("state: %d messages, %d to %d, subjects %v", info.State.Msgs, info.State.FirstSeq, info.State.LastSeq, info.State.Subjects)
	cfg := jetstream.ConsumerConfig{Name: "c1", AckPolicy: jetstream.AckExplicitPolicy, AckWait: time.Minute, MaxAckPending: 3, MemoryStorage: true}
	c, err := stream.CreateConsumer(ctx, cfg)
	k.say("consumer: %s, %d pending", meaning(err), c.CachedInfo().NumPending)
	cfg.Name = "c2"
	_, err = stream.CreateConsumer(ctx, cfg)
	k.say("another one: overlap %t", wire.MeaningOf(err) == wire.Overlap)
	k.fetch(c, 2, true)
	k.fetch(c, 9, false) // up to what may be unacked
	info, err = stream.Info(ctx)
	testkit.Must(k.t, err)
	k.say("state: %d messages", info.State.Msgs)
	k.say("delete: %s", meaning(stream.DeleteMsg(ctx, 5)))
	k.say("delete again: not found %t", errors.Is(stream.DeleteMsg(ctx, 5), jetstream.ErrMsgNotFound))
	k.say("delete the consumer: %s", meaning(k.js.DeleteConsumer(ctx, "Q", "c1")))
	k.say("again: %s", meaning(k.js.DeleteConsumer(ctx, "Q", "c1")))
}

// fetch takes messages and acks them, if it shall.
func (k *talk) fetch(c jetstream.Consumer, n int, ack bool) {
	batch, err := c.Fetch(n, jetstream.FetchMaxWait(200*time.Millisecond))
	testkit.Must(k.t, err)
	for msg := range batch.Messages() {
		meta, err := msg.Metadata()
		testkit.Must(k.t, err)
		k.say("message %s %q: sequence %d, number %d, %d pending, time %d", msg.Subject(), msg.Data(),
			meta.Sequence.Stream, meta.Sequence.Consumer, meta.NumPending, meta.NumDelivered)
		if ack {
			testkit.Must(k.t, msg.DoubleAck(k.t.Context()))
		}
	}
	k.say("batch: %s", meaning(batch.Error()))
	info, err := c.Info(k.t.Context())
	testkit.Must(k.t, err)
	k.say("consumer: delivered %d up to %d, %d unacked, %d pending", info.Delivered.Consumer, info.Delivered.Stream, info.NumAckPending, info.NumPending)
}

// bucket is a key-value bucket, as registry and ledger are.
func (k *talk) bucket() {
	ctx := k.t.Context()
	_, err := k.js.CreateStream(ctx, jetstream.StreamConfig{
		Name: "KV_b", Subjects: []string{"$KV.b.>"}, MaxMsgsPerSubject: 1, Discard: jetstream.DiscardNew, AllowRollup: true, DenyDelete: true,
		Storage: jetstream.MemoryStorage,
	})
	testkit.Must(k.t, err)
	kv, err := k.js.KeyValue(ctx, "b")
	testkit.Must(k.t, err)
	revision, err := kv.Create(ctx, "x.y", []byte("1"))
	k.say("create: %d, %s", revision, meaning(err))
	_, err = kv.Create(ctx, "x.y", []byte("2"))
	k.say("create again: exists %t", errors.Is(err, jetstream.ErrKeyExists))
	_, err = kv.Update(ctx, "x.y", []byte("2"), 7)
	k.say("update: %s", meaning(err))
	revision, err = kv.Update(ctx, "x.y", []byte("2"), 1)
	k.say("update: %d, %s", revision, meaning(err))
	e, err := kv.Get(ctx, "x.y")
	testkit.Must(k.t, err)
	k.say("get: %q at %d", e.Value(), e.Revision())
	_, err = kv.Get(ctx, "no")
	k.say("get: %v", err)
	w, err := kv.WatchAll(ctx)
	testkit.Must(k.t, err)
	defer func() { _ = w.Stop() }()
	_, err = kv.Put(ctx, "z", []byte("3"))
	testkit.Must(k.t, err)
	for range 3 { // the last of the first is nil
		if e := <-w.Updates(); e != nil {
			k.say("watch: %s %q at %d", e.Key(), e.Value(), e.Revision())
		} else {
			k.say("watch: that is all there was")
		}
	}
	testkit.Must(k.t, kv.Delete(ctx, "z"))
	_, err = kv.Get(ctx, "z")
	k.say("get: %v", err)
}

// current is a stream with the last message of each subject, as of a channel in latest mode.
func (k *talk) current() {
	ctx := k.t.Context()
	stream, err := k.js.CreateStream(ctx, jetstream.StreamConfig{
		Name: "L", Subjects: []string{"l.*"}, MaxMsgsPerSubject: 1, AllowDirect: true, Storage: jetstream.MemoryStorage,
	})
	testkit.Must(k.t, err)
	for _, key := range []string{"a", "b", "a", "c"} {
		k.publish("l."+key, "", -1, key)
	}
	for _, q := range []wire.MessageQuery{{LastOn: "l.a"}, {NextOn: "l.*", Sequence: 1}, {NextOn: "l.c", Sequence: 5}, {Sequence: 1}, {Sequence: 4}} {
		msg, err := wire.ReadFromLeader(ctx, k.js, "L", q)
		if err != nil {
			k.say("read %+v: %v", q, err)
			continue
		}
		k.say("read %+v: %s %q at %d", q, msg.Subject, msg.Data, msg.Sequence)
	}
	msg, err := stream.GetLastMsgForSubject(ctx, "l.a")
	testkit.Must(k.t, err)
	k.say("from any: %s %q at %d", msg.Subject, msg.Data, msg.Sequence)
	_, err = stream.GetLastMsgForSubject(ctx, "l.no")
	k.say("from any: %v", err)
	n, err := wire.CountFrom(ctx, k.js, "L", "l.*", 1)
	k.say("count: %d, %s", n.Messages, meaning(err))
	c, err := stream.CreateConsumer(ctx, jetstream.ConsumerConfig{
		Name: "c", AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true, DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: 3,
		FilterSubjects: []string{"l.a", "l.b"},
	})
	testkit.Must(k.t, err)
	k.fetch(c, 9, false)
	ordered, err := stream.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{HeadersOnly: true, FilterSubjects: []string{"l.b", "l.c"}})
	testkit.Must(k.t, err)
	batch, err := ordered.Fetch(5, jetstream.FetchMaxWait(200*time.Millisecond))
	testkit.Must(k.t, err)
	for msg := range batch.Messages() {
		k.say("in order: %s %q", msg.Subject(), msg.Data())
	}
	names := stream.ConsumerNames(ctx)
	var all []string
	for name := range names.Name() {
		all = append(all, name)
	}
	k.say("consumers: c %t", slices.Contains(all, "c"))
	k.say("purge: %s", meaning(stream.Purge(ctx, jetstream.WithPurgeSubject("l.a"))))
	_, err = k.js.Stream(ctx, "NO")
	k.say("no stream: %v", err)
	_, err = k.js.Publish(context.WithoutCancel(ctx), "nobody.listens", nil)
	k.say("nobody listens: %v", err)
}
