package connkafka_test

import (
	"context"
	"testing"
	"time"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connectortest"
)

// frozen has a worker's record wait in the network while its successor writes a newer version,
// lets it go on, and returns what the topic ends with and the result that the worker got.
func frozen(t *testing.T, fence string, args ...string) (versions []string, late connectors.Result) {
	t.Helper()
	b := startBroker(t, args...)
	topic := topicName(t)
	b.topic(t, topic, 3, compacted(nil))
	more := "fence: " + fence + "\n"
	old := connect(t, config(b.proxy.Addr(), topic, more))
	want(t, apply(t, old, attempt("k", 1, "{}"))[0], connectors.OK, "")
	// The version before is committed, and the worker's next record on its way.
	release, held := make(chan struct{}), make(chan struct{})
	b.relay.on(func(api int16) fate {
		if api != apiProduce {
			return fate{}
		}
		b.relay.on(nil)
		close(held)
		return fate{hold: release}
	})
	result := make(chan connectors.Result, 1)
	go func() { result <- apply(t, old, attempt("k", 2, "{}"))[0] }()
	<-held
	successor := connect(t, config(b.proxy.Addr(), topic, more))
	want(t, apply(t, successor, attempt("k", 3, "{}"))[0], connectors.OK, "")
	close(release)
	late = <-result
	want(t, apply(t, successor, attempt("other", 1, "{}"))[0], connectors.OK, "") // it still writes
	for _, r := range newInbox(b, topic).records(t, "k") {
		versions = append(versions, versionOf(t, r).String())
	}
	return versions, late
}

// A worker that was frozen in the middle of a write puts nothing behind what its successor has
// written: the broker refuses it. So it is with the protocol of Kafka 4, in which a request
// joins a transaction by itself, and with that of Kafka 3.5, in which a client says so before.
func TestFrozenWorkerIsFenced(t *testing.T) {
	for name, version := range map[string]string{"newest": "", "3.5": "3.5"} {
		t.Run(name, func(t *testing.T) {
			var args []string
			if version != "" {
				args = []string{"-version", version}
			}
			versions, late := frozen(t, "transactions", args...)
			if len(versions) != 2 || versions[0] != "1" || versions[1] != "3" {
				t.Errorf("the topic has the versions %q", versions)
			}
			if late.Class != connectors.Transient || late.Code != "INVALID_PRODUCER_EPOCH" && late.Code != "INVALID_TXN_STATE" {
				t.Errorf("the frozen worker was told %s, %q, %v", late.Class, late.Code, late.Err)
			}
		})
	}
}

// Without transactions nothing keeps it from that, which is why they are the default.
func TestFrozenWorkerWithoutFence(t *testing.T) {
	versions, _ := frozen(t, "none")
	if len(versions) != 3 || versions[2] != "2" {
		t.Errorf("the topic has the versions %q", versions)
	}
}

// A worker that was frozen before it announced its producer fences its successor when it goes
// on, but its lease is over by then: it writes nothing, and the successor announces itself
// anew.
func TestWorkerFrozenBeforeItsFirstWrite(t *testing.T) {
	b := startBroker(t)
	topic := topicName(t)
	b.topic(t, topic, 3, compacted(nil))
	old, successor := connect(t, config(b.proxy.Addr(), topic, "")), connect(t, config(b.proxy.Addr(), topic, ""))
	release, held := make(chan struct{}), make(chan struct{})
	b.relay.on(func(api int16) fate {
		if api != apiInitProducerID {
			return fate{}
		}
		b.relay.on(nil)
		close(held)
		return fate{hold: release}
	})
	lease := time.Now().Add(time.Hour)
	over := make(chan struct{})
	result := make(chan connectors.Result, 1)
	go func() {
		ctx := connectors.WithBeginBy(connectors.WithPartition(t.Context(), 0), func() time.Time {
			<-over
			return lease
		})
		result <- old.Apply(ctx, []connectors.Attempt{attempt("k", 1, "{}")})[0]
	}()
	<-held
	want(t, apply(t, successor, attempt("k", 2, "{}"))[0], connectors.OK, "")
	lease = time.Now().Add(-time.Second)
	close(over)
	close(release)
	want(t, <-result, connectors.Transient, "fenced")
	first := apply(t, successor, attempt("k", 3, "{}"))[0]
	if first.Class != connectors.Transient && first.Class != connectors.OK {
		t.Errorf("the successor was told %s, %q", first.Class, first.Code)
	}
	testkit.Eventually(t, "the successor writes", func() bool {
		return apply(t, successor, attempt("k", 3, "{}"))[0].Class == connectors.OK
	})
	for _, r := range newInbox(b, topic).records(t, "k") {
		if versionOf(t, r) == testkit.Number(1) {
			t.Error("the frozen worker has written")
		}
	}
}

// Somebody who owns no partition, such as a trial by hand, fences nobody.
func TestTrialFencesNobody(t *testing.T) {
	b := startBroker(t)
	topic := topicName(t)
	b.topic(t, topic, 3, compacted(nil))
	worker, trial := connect(t, config(b.addr, topic, "")), connect(t, config(b.addr, topic, ""))
	want(t, apply(t, worker, attempt("k", 1, "{}"))[0], connectors.OK, "")
	ctx, cancel := context.WithTimeout(t.Context(), connectortest.Timeout)
	defer cancel()
	want(t, trial.Apply(ctx, []connectors.Attempt{attempt("k", 2, "{}")})[0], connectors.OK, "")
	want(t, apply(t, worker, attempt("k", 3, "{}"))[0], connectors.OK, "")
}

// Partitions of a channel have transactional ids of their own: their owners do not fence each
// other.
func TestOwnersOfOtherPartitionsAreNotFenced(t *testing.T) {
	b := startBroker(t)
	topic := topicName(t)
	b.topic(t, topic, 3, compacted(nil))
	owners := []*connectors.Opened{connect(t, config(b.addr, topic, "")), connect(t, config(b.addr, topic, ""))}
	for v := int64(1); v <= 3; v++ {
		for n, c := range owners {
			ctx, cancel := context.WithTimeout(connectors.WithPartition(t.Context(), n), connectortest.Timeout)
			want(t, c.Apply(ctx, []connectors.Attempt{attempt("k"+string(rune('0'+n)), v, "{}")})[0], connectors.OK, "")
			cancel()
		}
	}
}
