package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hms-utl/extsync/internal/cli"
	"github.com/hms-utl/extsync/internal/faults"
	"github.com/hms-utl/extsync/internal/natsserver/natstest"
	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
	"github.com/hms-utl/extsync/pkg/workers"
)

// extsync returns a command that talks to the rig's broker.
func (r *rig) extsync(args ...string) program {
	return program{name: "extsync", args: args, env: []string{"EXTSYNC_NATS_URL=" + r.url}}
}

// reasonDoc is a reason in any answer.
type reasonDoc struct {
	Code, Message, Worker string
	Partitions            []int
	Undelivered           int
	Alarm                 bool
}

// statusOf is what status says of a channel.
type statusOf struct {
	State, Circuit string
	Undelivered    int
	Alarm          bool
	Oldest         float64 `json:"oldest_seconds"`
	Reasons        []reasonDoc
}

func (r *rig) status(channel string) statusOf {
	r.t.Helper()
	var doc struct{ Channels []statusOf }
	r.extsync("status", channel, "--json", "--interval", "200ms").decode(r.t, &doc)
	return doc.Channels[0]
}

// workersDoc is what workers says.
type workersDoc struct {
	Workers []struct {
		Worker        string
		Alive         bool
		Shards, Wants []int
		Waits         []struct{ Channel, Code, Message string }
	}
	Unowned []struct {
		Channel string
		reasonDoc
	}
}

func (r *rig) crewDoc(code int) (doc workersDoc, ok bool) {
	r.t.Helper()
	e := r.extsync("workers", "--json").run(r.t)
	if e.code != code {
		return doc, false
	}
	decodeJSON(r.t, e.out, &doc)
	return doc, true
}

// whyPending is what get says of a key that is pending.
func (r *rig) whyPending(channel, key string) (state string, why reasonDoc) {
	r.t.Helper()
	var doc struct {
		Channels []struct {
			State string
			Why   reasonDoc
		}
	}
	r.extsync("get", channel, key, "--json").decode(r.t, &doc)
	return doc.Channels[0].State, doc.Channels[0].Why
}

// publishKeys publishes a version of k0, k1 and so on.
func (r *rig) publishKeys(channel string, keys int, version int64) {
	r.t.Helper()
	for k := range keys {
		u := events.Update{Channel: channel, Key: fmt.Sprint("k", k), Version: versioning.Must(versioning.Number(version)), Payload: []byte(`{}`)}
		_, err := r.pub.Publish(r.t.Context(), u)
		r.must(err)
	}
}

// mustSay fails where a text does not say something.
func mustSay(t *testing.T, where, text string, wants ...string) {
	t.Helper()
	for _, want := range wants {
		if !strings.Contains(text, want) {
			t.Errorf("%s does not say %q:\n%s", where, want, text)
		}
	}
}

// TestSecretMissingAtOneOfTwoWorkers: half of the keys wait, and every place says so,
// why, and at which worker.
func TestSecretMissingAtOneOfTwoWorkers(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	tg := faults.NewHTTPTarget(t, faults.HTTPOptions{})
	connector := tg.Connector()
	connector["headers"].(map[string]string)["X-Token"] = "${env:CHANNEL_ERP_TOKEN}"
	r.channel("erp", channels.Latest, "http", connector)
	w1 := r.lookAt("w1", "CHANNEL_ERP_TOKEN=hunter2")
	w2 := r.lookAt("w2")
	var id string // that w2 has given itself
	testkit.Eventually(t, "both workers to have their share", func() bool {
		doc, ok := r.crewDoc(cli.ExitOK)
		for _, w := range doc.Workers {
			if len(w.Waits) == 1 && w.Waits[0].Code == "secret_missing" && len(w.Shards) == 2 {
				id = w.Worker
			}
		}
		return ok && id != "" && len(doc.Workers) == 2
	})
	const keys = 40
	r.publishKeys("erp", keys, 1)

	var st statusOf
	testkit.Eventually(t, "the other half to be delivered", func() bool {
		st = r.status("erp")
		return len(st.Reasons) == 1 && st.Undelivered > 0 && st.Undelivered < keys && st.Undelivered == st.Reasons[0].Undelivered
	})
	f := st.Reasons[0]
	if st.State != "blocked" || st.Circuit != "blocked" || !st.Alarm || f.Code != "secret_missing" || f.Worker != id || len(f.Partitions) != 2 {
		t.Errorf("status %+v", st)
	}
	mustSay(t, "status", r.extsync("status", "erp").ok(t), "blocked at worker "+id, "CHANNEL_ERP_TOKEN is not set", "when it is restarted")

	pending := ""
	for k := range keys {
		key := fmt.Sprint("k", k)
		if state, why := r.whyPending("erp", key); state == "pending" {
			pending = key
			if why.Code != "secret_missing" || why.Worker != id || !strings.Contains(why.Message, "CHANNEL_ERP_TOKEN") {
				t.Errorf("get %s: %+v", key, why)
			}
			break
		}
	}
	for _, p := range []program{ // wait has a reason for what was published only
		r.extsync("push", "erp", pending, "2", "--data", "{}", "--wait", "1s"),
		r.extsync("wait", "erp", pending+"@2", "--timeout", "1s"),
	} {
		e := p.run(t)
		if e.code != cli.ExitNoAck {
			t.Errorf("%s: exit code %d", p.args[0], e.code)
		}
		mustSay(t, p.args[0], e.err, "secret_missing", "blocked at worker "+id, "CHANNEL_ERP_TOKEN is not set")
	}
	e := r.extsync("doctor").run(t)
	if e.code != cli.ExitFound {
		t.Errorf("doctor: exit code %d", e.code)
	}
	mustSay(t, "doctor", e.out, "problem", "secret_missing", id, "CHANNEL_ERP_TOKEN is not set")

	w2.readyz("channel erp: secret_missing: ")
	w1.readyz("")
	_, metrics := w2.get(w2.metrics)
	mustSay(t, "/metrics", metrics, `extsync_partitions_stalled{channel="erp",why="secret_missing"} 1`, `extsync_connector_blocked{channel="erp"} 1`, "extsync_ready 0")

	kv, err := r.js.Stream(t.Context(), wire.KVStream(wire.WorkersBucket(r.names)))
	r.must(err)
	msg, err := kv.GetLastMsgForSubject(t.Context(), wire.KVSubject(wire.WorkersBucket(r.names), id))
	r.must(err)
	if strings.Contains(string(msg.Data), "hunter2") || len(msg.Data) > 2000 {
		t.Errorf("%d bytes: %s", len(msg.Data), msg.Data)
	}

	// Without it the other one takes over.
	w2.Terminate()
	testkit.Eventually(t, "all to be delivered", func() bool {
		st = r.status("erp")
		return st.Undelivered == 0 && st.State == "active" && len(st.Reasons) == 0 && st.Circuit == "closed"
	})
}

// foreignLease keeps the lease of a shard for somebody who does not announce himself,
// until the returned function is called.
func (r *rig) foreignLease(shard int) (release func()) {
	r.t.Helper()
	subject := wire.KVSubject(wire.LeasesBucket(r.names), fmt.Sprint(shard))
	write := func(ctx context.Context, owner string) error {
		data, err := json.Marshal(map[string]any{"f": wire.Format, "owner": owner})
		if err == nil {
			_, err = r.js.Publish(ctx, subject, data)
		}
		return err
	}
	r.must(write(r.t.Context(), "ghost"))
	ctx, stop := context.WithCancel(r.t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(r.lease / 8)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				_ = write(ctx, "ghost") // the next one counts
			}
		}
	}()
	return func() {
		r.t.Helper()
		stop()
		<-done
		r.must(write(r.t.Context(), ""))
	}
}

// TestPartitionWithoutAnOwner: updates that wait in a partition that nobody works on are
// an alarm everywhere, whoever is to blame; and it ends when somebody has it.
func TestPartitionWithoutAnOwner(t *testing.T) {
	t.Parallel()
	b := natstest.Run(t, natstest.Options{TCP: true})
	r := newRigAt(t, faults.NewCrew(t), b.URL(), 1)
	tg := faults.NewHTTPTarget(t, faults.HTTPOptions{})
	r.channel("erp", channels.Latest, "http", tg.Connector())
	shard := workers.Shard("erp", 2)
	release := r.foreignLease(shard)
	w := r.lookAt("w1")
	const keys = 40
	r.publishKeys("erp", keys, 1)
	r.publishKeys("erp", keys, 2)

	var st statusOf
	testkit.Eventually(t, "status to be alarmed", func() bool {
		st = r.status("erp")
		return st.Alarm
	})
	own := 0
	for k := range keys {
		if partitionOf(t, fmt.Sprint("k", k)) == 2 {
			own++
		}
	}
	f := st.Reasons[0]
	if st.State != "stalled" || st.Undelivered != own || len(st.Reasons) != 1 || f.Code != "no_worker" || len(f.Partitions) != 1 || f.Partitions[0] != 2 ||
		f.Undelivered != own || st.Oldest < 1 {
		t.Errorf("status %+v, of %d keys", st, own)
	}
	mustSay(t, "status", r.extsync("status", "erp").ok(t), "no_worker: partition 2: ", fmt.Sprintf("%d updates wait", own), "extsync workers")
	doc, ok := r.crewDoc(cli.ExitFound)
	if !ok || len(doc.Unowned) != 1 || doc.Unowned[0].Channel != "erp" || len(doc.Workers) != 1 || len(doc.Workers[0].Shards) != 3 ||
		len(doc.Workers[0].Wants) != 1 || doc.Workers[0].Wants[0] != shard {
		t.Errorf("workers: %+v", doc)
	}
	mustSay(t, "workers", r.extsync("workers").run(t).out, "alive", "nobody  erp: no_worker: partition 2")
	e := r.extsync("doctor").run(t)
	if e.code != cli.ExitFound {
		t.Errorf("doctor: exit code %d", e.code)
	}
	mustSay(t, "doctor", e.out, "problem", "deliveries: erp: no_worker: partition 2")
	for k := range keys {
		key := fmt.Sprint("k", k)
		if partitionOf(t, key) == 2 {
			if state, why := r.whyPending("erp", key); state != "pending" || why.Code != "no_worker" {
				t.Errorf("get %s: %s, %+v", key, state, why)
			}
			break
		}
	}
	w.readyz("channel erp: no_worker: ")
	if status, metrics := w.get(w.metrics); status != http.StatusOK || !strings.Contains(metrics, `extsync_partitions_unowned{channel="erp"} 1`) {
		t.Errorf("/metrics: %d\n%s", status, metrics)
	}

	release()
	testkit.Eventually(t, "all to be delivered", func() bool {
		st = r.status("erp")
		return st.Undelivered == 0 && st.State == "active" && !st.Alarm
	})
	w.readyz("")
	if _, ok := r.crewDoc(cli.ExitOK); !ok {
		t.Error("workers still finds something")
	}

	// A worker that is frozen is not alive, whatever it has announced.
	w.Freeze()
	defer w.Thaw()
	r.publishKeys("erp", keys, 3)
	testkit.Eventually(t, "the only worker to be gone", func() bool {
		doc, ok := r.crewDoc(cli.ExitFound)
		return ok && len(doc.Unowned) == 1 && len(doc.Unowned[0].Partitions) == 0 && doc.Unowned[0].Message == "no connector-worker is alive"
	})
	w.Thaw()
	testkit.Eventually(t, "all to be delivered", func() bool { return r.status("erp").Undelivered == 0 })
}

// partitionOf returns the partition of a key in a channel of four.
func partitionOf(t *testing.T, key string) int {
	t.Helper()
	enc, err := events.EncodeKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return wire.Partition(enc, 4)
}
