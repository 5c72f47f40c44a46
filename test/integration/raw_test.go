package integration

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/hms-utl/extsync/internal/faults"
	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/connectors/connectortest"
	"github.com/hms-utl/extsync/pkg/connectors/kinds"
	"github.com/hms-utl/extsync/pkg/delivery"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/publish"
)

// A rawClient speaks to the broker by the documented contract and nothing else:
// every name and header is spelled out here as the documentation has it, none
// comes from our packages. A client in any other language does the same.
type rawClient struct {
	t  testing.TB
	nc *nats.Conn
}

// head returns the sequence of a key's newest message, "0" if there is none: a
// direct get of the last message on the key's stored subject, whatever its partitions.
func (c rawClient) head(channel, key string) string {
	c.t.Helper()
	reply, err := c.nc.Request("$JS.API.DIRECT.GET.SYNC_UPD_"+channel,
		fmt.Appendf(nil, `{"last_by_subj":"sync.upd.%s.*.*.%s"}`, channel, key), 5*time.Second)
	if err != nil {
		c.t.Fatal(err)
	}
	if reply.Header.Get("Status") == "404" {
		return "0"
	}
	return reply.Header.Get("Nats-Sequence")
}

// publish sends headers and bytes and returns the broker's answer.
func (c rawClient) publish(subject string, header map[string]string, body string) string {
	c.t.Helper()
	msg := &nats.Msg{Subject: subject, Data: []byte(body), Header: nats.Header{}}
	for name, value := range header {
		msg.Header[name] = []string{value}
	}
	reply, err := c.nc.RequestMsg(msg, 5*time.Second)
	if err != nil {
		c.t.Fatal(err)
	}
	return string(reply.Data)
}

// refusal returns the code of the error in the broker's answer to a publish, 0 if it was
// stored.
func (c rawClient) refusal(answer string) int {
	c.t.Helper()
	var refused struct {
		Error struct {
			Code int `json:"err_code"`
		}
	}
	decodeJSON(c.t, answer, &refused)
	return refused.Error.Code
}

// isMoved reports whether a publish was refused because the key's head is another one
// by now.
func isMoved(code int) bool { return code == 10071 || code == 10164 }

// digestOf returns the digest of an upsert.
func digestOf(body string) string {
	digest := sha256.Sum256([]byte("upsert\n" + body))
	return hex.EncodeToString(digest[:])
}

// event returns the headers of one version with this body.
func (c rawClient) event(channel, key, version, body string) map[string]string {
	c.t.Helper()
	return map[string]string{
		"Nats-Msg-Id":                         channel + "/" + key + "/" + version + "/" + digestOf(body)[:16],
		"Nats-Expected-Last-Subject-Sequence": c.head(channel, key),
		"ce-specversion":                      "1.0",
		"ce-id":                               "raw-" + version,
		"ce-source":                           "/platform/raw",
		"ce-type":                             "org.example.policy.updated",
		"ce-subject":                          key,
		"ce-entityversion":                    version,
		"content-type":                        "application/json",
	}
}

// inProcess runs a worker inside of the test's process, for tests that look at
// its counters. It ends with the test.
func (r *rig) inProcess() *delivery.Worker {
	r.t.Helper()
	w, err := delivery.New(delivery.Options{
		JS: r.js, Catalog: kinds.All(), LeaseTTL: r.lease, DrainTimeout: 5 * time.Second,
		Host:   connectortest.Host(map[string]string{faults.WorkerVariable: "in-process"}),
		Logger: zerolog.New(zerolog.NewTestWriter(r.t)).Level(zerolog.WarnLevel),
	})
	r.must(err)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	r.t.Cleanup(func() {
		stop()
		if err := next(r.t, "the worker's end", done); err != nil {
			r.t.Error(err)
		}
	})
	return w
}

func TestAnyClientCanPublish(t *testing.T) {
	t.Parallel()
	for _, mode := range []channels.Mode{channels.Latest, channels.Every} {
		t.Run(string(mode), func(t *testing.T) {
			r := newRig(t)
			tg := faults.NewHTTPTarget(t, faults.HTTPOptions{})
			r.channel("c", mode, "http", tg.Connector())
			r.inProcess()
			inbox := r.nc.NewInbox()
			acks := make(chan *nats.Msg, 8)
			_, err := r.nc.ChanSubscribe(inbox, acks)
			r.must(err)
			c := rawClient{t, r.nc}
			for _, b := range []struct{ version, body string }{
				{"7", `{"holder":"Ada"}`}, {"9007199254740993", `{"holder":"Bo"}`}, // the second is above 2^53
			} {
				// In the mode every the head goes when it is settled, just after its ack: who
				// read it before that is refused, and begins again as the contract says.
				testkit.Eventually(t, "the update to be stored", func() bool {
					header := c.event("c", "policy-1", b.version, b.body)
					header["Extsync-Reply-To"] = inbox
					return !isMoved(c.refusal(c.publish("sync.updates.c.policy-1", header, b.body)))
				})
				ack, err := publish.DecodeAck(next(t, "the ack", acks).Data)
				if err != nil || ack.Outcome != events.Delivered || ack.Version.String() != b.version || ack.Key != "policy-1" || ack.ID != "raw-"+b.version {
					t.Fatalf("ack %+v, %v", ack, err)
				}
			}
			h := tg.History()
			if len(h.Writes) != 2 || h.Writes[0].Version.String() != "7" || h.Writes[1].Version.String() != "9007199254740993" || h.Writes[0].Op != events.Upsert {
				t.Errorf("target got %+v", h.Writes)
			}
		})
	}
}

// The expected sequence is what keeps an old version from replacing a newer one:
// the broker refuses a publisher that has not seen the head.
func TestRawPublishWithoutTheHeadIsRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	tg := faults.NewHTTPTarget(t, faults.HTTPOptions{})
	r.channel("c", channels.Latest, "http", tg.Connector())
	c := rawClient{t, r.nc}
	before := c.event("c", "k", "6", `{"old":true}`)
	c.publish("sync.updates.c.k", c.event("c", "k", "7", `{}`), `{}`)
	if answer := c.publish("sync.updates.c.k", before, `{"old":true}`); !isMoved(c.refusal(answer)) {
		t.Errorf("answer %s", answer)
	}
	if c.head("c", "k") != "1" {
		t.Error("the head has changed")
	}
}

// A publisher cannot make a worker publish with the worker's rights: a subject
// that is neither an inbox nor a service's is counted and not used.
func TestReplySubjectOutsideIsNotUsed(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	tg := faults.NewHTTPTarget(t, faults.HTTPOptions{})
	r.channel("c", channels.Latest, "http", tg.Connector())
	w := r.inProcess()
	subjects := []string{"$KV.sync_ledger.c.k", "sync.updates.c.other", "orders.new", "sync.acks.portal"}
	used := make(chan *nats.Msg, 64)
	for _, s := range []string{"sync.updates.c.other", "orders.>", "sync.acks.portal"} {
		_, err := r.nc.ChanSubscribe(s, used)
		r.must(err)
	}
	c := rawClient{t, r.nc}
	for i, reply := range subjects {
		key := fmt.Sprintf("k%d", i)
		header := c.event("c", key, "1", `{}`)
		header["Extsync-Reply-To"] = reply
		c.publish("sync.updates.c."+key, header, `{}`)
	}
	for i := range subjects {
		u := events.Update{Channel: "c", Key: fmt.Sprintf("k%d", i), Version: update("c", "k", 1, 0).Version, Payload: []byte(`{}`)}
		if ack := r.outcome(u); ack.Outcome != events.Delivered {
			t.Errorf("not delivered: %+v", ack)
		}
	}
	if got := w.Stats()["c"].RepliesRefused; got != uint64(len(subjects)) {
		t.Errorf("%d refused replies were counted, want %d", got, len(subjects))
	}
	r.must(r.nc.Flush())
	if len(used) > 0 {
		t.Errorf("the worker has published to %s", (<-used).Subject)
	}
}

// A malformed update is not lost in silence: it becomes a dead letter, with an
// outcome in the log, and holds up nothing behind it (guarantee 5).
func TestMalformedRawUpdateBecomesADeadLetter(t *testing.T) {
	t.Parallel()
	for _, mode := range []channels.Mode{channels.Latest, channels.Every} {
		t.Run(string(mode), func(t *testing.T) {
			r := newRig(t)
			tg := faults.NewHTTPTarget(t, faults.HTTPOptions{})
			r.channel("c", mode, "http", tg.Connector())
			w := r.inProcess()
			c := rawClient{t, r.nc}
			broken := []struct{ key, header, value string }{
				{"no-version", "ce-entityversion", ""},
				{"float", "ce-entityversion", "7.5"},
				{"no-id", "ce-id", ""},
				{"other-key", "ce-subject", "somebody-else"},
				{"op", "ce-op", "destroy"},
			}
			for _, b := range broken {
				header := c.event("c", b.key, "7", `{"broken":true}`)
				header[b.header] = b.value
				c.publish("sync.updates.c."+b.key, header, `{"broken":true}`)
			}
			good := update("c", "good", 1, 0)
			_, err := r.pub.Publish(t.Context(), good)
			r.must(err)
			if ack := r.outcome(good); ack.Outcome != events.Delivered {
				t.Errorf("not delivered: %+v", ack)
			}
			log := faults.NewLogReader(r.js, r.names, "c")
			dead, err := r.js.Stream(t.Context(), "SYNC_DEAD")
			r.must(err)
			for _, b := range broken {
				var msg *jetstream.RawStreamMsg
				testkit.Eventually(t, "a dead letter of "+b.key, func() bool {
					var err error
					msg, err = dead.GetLastMsgForSubject(t.Context(), wire.DeadLetter(r.names, "c", b.key))
					return err == nil
				})
				if string(msg.Data) != `{"broken":true}` || msg.Header.Get(wire.HeaderDeadReason) == "" || msg.Header.Get(wire.HeaderDeadCode) != "malformed" {
					t.Errorf("%s: dead letter %v %s", b.key, msg.Header, msg.Data)
				}
			}
			entries := collect(t.Context(), t, log, func(faults.Logged) bool {
				malformed := 0
				for _, e := range log.Entries {
					if e.Outcome == events.DeadLettered && e.Code == "malformed" && e.Sequence > 0 {
						malformed++
					}
				}
				return malformed == len(broken)
			})
			if got := w.Stats()["c"].Malformed; got != uint64(len(broken)) {
				t.Errorf("%d malformed updates were counted, want %d; log %+v", got, len(broken), entries)
			}
			if _, writes, _ := tg.Counts(); writes != 1 {
				t.Errorf("the target got %d writes", writes)
			}
		})
	}
}
