package connkafka_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/hms-utl/extsync/internal/faults"
	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connectortest"
	"github.com/hms-utl/extsync/pkg/connectors/connkafka"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// built is the broker's program, made once for all tests of the process.
var built = sync.OnceValues(func() (string, error) { //nolint:gochecknoglobals // tests know nothing of each other
	program := filepath.Join(buildDir, "kfake")
	build := exec.CommandContext(context.Background(), "go", "build", "-o", program, "./kfake")
	build.Dir, build.Env = "../../../test/servers", append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	return program, nil
})

var buildDir string //nolint:gochecknoglobals // set before the first test

func TestMain(m *testing.M) {
	var err error
	if buildDir, err = os.MkdirTemp("", "connkafka"); err != nil {
		panic(err)
	}
	code := m.Run()
	_ = os.RemoveAll(buildDir)
	os.Exit(code)
}

// A broker is a process of kfake, and the network before it: clients go by the proxy, which
// can be cut, and the relay, which reads what they ask.
type broker struct {
	addr    string // of the process itself
	proxy   *faults.Proxy
	relay   *relay
	run     func() *faults.Process
	process *faults.Process
	options []kgo.Opt // for clients of the tests themselves
}

// startBroker starts a broker of the test's own. What it holds is in files, and there when it
// is started again.
func startBroker(t testing.TB, args ...string) *broker {
	t.Helper()
	program, err := built()
	testkit.Must(t, err)
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	testkit.Must(t, err)
	b := &broker{addr: l.Addr().String()}
	_ = l.Close() // for the broker
	b.relay = newRelay(t, b.addr)
	b.proxy = faults.NewProxy(t, b.relay.addr())
	crew, dir := faults.NewCrew(t), t.TempDir()
	b.run = func() *faults.Process {
		p := crew.Start(t, faults.Spec{Name: "kfake", Path: program, Args: append([]string{
			"-listen", b.addr, "-advertise", b.proxy.Addr(), "-dir", dir,
		}, args...)})
		testkit.Eventually(t, "the broker answers", func() bool {
			conn, err := new(net.Dialer).DialContext(context.Background(), "tcp", b.addr)
			if err == nil {
				_ = conn.Close()
			}
			return err == nil
		})
		return p
	}
	b.process = b.run()
	return b
}

// client returns a client that goes to the process itself, past the network before it.
func (b *broker) client(t testing.TB, more ...kgo.Opt) *kgo.Client {
	t.Helper()
	direct := func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, b.addr)
	}
	opts := append([]kgo.Opt{kgo.SeedBrokers(b.addr), kgo.Dialer(direct), kgo.DisableClientMetrics(), kgo.RequestRetries(2)}, b.options...)
	c, err := kgo.NewClient(append(opts, more...)...)
	testkit.Must(t, err)
	return c
}

// topic makes a topic with these settings.
func (b *broker) topic(t testing.TB, name string, partitions int32, settings map[string]string) {
	t.Helper()
	c := b.client(t)
	defer c.Close()
	req := kmsg.NewPtrCreateTopicsRequest()
	one := kmsg.NewCreateTopicsRequestTopic()
	one.Topic, one.NumPartitions, one.ReplicationFactor = name, partitions, 1
	for key, value := range settings {
		config := kmsg.NewCreateTopicsRequestTopicConfig()
		config.Name, config.Value = key, kmsg.StringPtr(value)
		one.Configs = append(one.Configs, config)
	}
	req.Topics, req.TimeoutMillis = append(req.Topics, one), 5000
	resp, err := req.RequestWith(t.Context(), c)
	testkit.Must(t, err)
	testkit.Must(t, kerr.ErrorForCode(resp.Topics[0].ErrorCode))
}

// compacted are the settings of a topic that records of tests go to.
func compacted(more map[string]string) map[string]string {
	out := map[string]string{"cleanup.policy": "compact"}
	maps.Copy(out, more)
	return out
}

// config returns a configuration for a broker at an address.
func config(addr, topic, more string) string {
	return fmt.Sprintf("brokers: ['%s']\nsecurity: plain\ntopic: %s\nallow_cidrs: [127.0.0.0/8]\n", addr, topic) + more
}

func open(t testing.TB, config string, secrets map[string]string) *connectors.Opened {
	t.Helper()
	c, err := connectors.Open(t.Context(), connkafka.Kind(), connectortest.Env(secrets), []byte(config))
	testkit.Must(t, err)
	return c
}

// connect opens a connector that is closed with the test.
func connect(t testing.TB, config string) *connectors.Opened {
	t.Helper()
	c := open(t, config, nil)
	t.Cleanup(func() {
		if err := c.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	return c
}

func attempt(key string, version int64, payload string) connectors.Attempt {
	u := events.Update{Channel: connectortest.Channel, Key: key, Version: testkit.Number(version), Op: events.Upsert, Payload: []byte(payload)}
	if payload == "" {
		u.Op = events.Delete
	}
	u = u.WithDefaults()
	return connectors.Attempt{Update: u, Digest: u.Digest(), Number: 1}
}

// apply makes attempts as the owner of the channel's first partition.
func apply(t testing.TB, c *connectors.Opened, attempts ...connectors.Attempt) []connectors.Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(connectors.WithPartition(t.Context(), 0), connectortest.Timeout)
	defer cancel()
	return c.Apply(ctx, attempts)
}

func want(t testing.TB, res connectors.Result, class connectors.Class, code string) {
	t.Helper()
	if res.Class != class || res.Code != code {
		t.Errorf("class %s, code %q (%v, %s); want %s, %q", res.Class, res.Code, res.Err, res.Response, class, code)
	}
}

// topicName returns a name that no other test has.
func topicName(t testing.TB) string {
	return strings.NewReplacer("/", ".", " ", "-").Replace(t.Name())
}

// An inbox is a consumer of a topic that reads what was committed. It is safe for concurrent
// use.
type inbox struct {
	broker *broker
	topic  string

	mu   sync.Mutex
	next map[int32]int64
	all  []*kgo.Record
	last map[string]*kgo.Record // of each key, as compaction leaves it
}

func newInbox(b *broker, topic string) *inbox {
	return &inbox{broker: b, topic: topic, next: map[int32]int64{}, last: map[string]*kgo.Record{}}
}

// ends returns where each partition ends for who reads what was committed.
func (b *inbox) ends(ctx context.Context, c *kgo.Client) (map[int32]int64, error) {
	meta := kmsg.NewPtrMetadataRequest()
	topic := kmsg.NewMetadataRequestTopic()
	topic.Topic = kmsg.StringPtr(b.topic)
	meta.Topics = append(meta.Topics, topic)
	seen, err := meta.RequestWith(ctx, c)
	if err != nil {
		return nil, err
	}
	req := kmsg.NewPtrListOffsetsRequest()
	req.IsolationLevel = 1
	ask := kmsg.NewListOffsetsRequestTopic()
	ask.Topic = b.topic
	for _, p := range seen.Topics[0].Partitions {
		one := kmsg.NewListOffsetsRequestTopicPartition()
		one.Partition, one.Timestamp = p.Partition, -1
		ask.Partitions = append(ask.Partitions, one)
	}
	req.Topics = append(req.Topics, ask)
	resp, err := req.RequestWith(ctx, c)
	if err != nil {
		return nil, err
	}
	out := map[int32]int64{}
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
				return nil, err
			}
			out[p.Partition] = p.Offset
		}
	}
	return out, nil
}

// empty reads on to the end. While the broker is away there is nothing to read.
func (b *inbox) empty(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), connectortest.Timeout)
	defer cancel()
	c := b.broker.client(t)
	defer c.Close()
	ends, err := b.ends(ctx, c)
	if err != nil {
		return
	}
	from := map[int32]kgo.Offset{}
	for p, end := range ends {
		if b.next[p] < end {
			from[p] = kgo.NewOffset().At(b.next[p])
		}
	}
	if len(from) == 0 {
		return
	}
	reader := b.broker.client(
		t, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{b.topic: from}), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords(),
	)
	defer reader.Close()
	for left := len(from); left > 0; {
		fetches := reader.PollFetches(ctx)
		if errors.Is(fetches.Err0(), context.DeadlineExceeded) {
			t.Error("the topic cannot be read")
			return
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if _, more := from[r.Partition]; !more {
				return
			}
			if b.next[r.Partition] = r.Offset + 1; b.next[r.Partition] >= ends[r.Partition] {
				left--
				delete(from, r.Partition)
			}
			if !r.Attrs.IsControl() {
				b.all = append(b.all, r)
				b.last[string(r.Key)] = r
			}
		})
	}
}

// records returns all that was read of a key, in order; of all keys if it is "".
func (b *inbox) records(t testing.TB, key string) []*kgo.Record {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.empty(t)
	var out []*kgo.Record
	for _, r := range b.all {
		if key == "" || string(r.Key) == key {
			out = append(out, r)
		}
	}
	return out
}

// read returns what the last record of each key says. Of a deleted one it says nothing.
func (b *inbox) read(t testing.TB, keys ...string) map[string]connectors.Held {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.empty(t)
	out := map[string]connectors.Held{}
	for _, key := range keys {
		if r, ok := b.last[key]; ok && header(r, "ce_op") == string(events.Upsert) {
			held := connectors.Held{Op: events.Upsert}
			held.Version = versionOf(t, r)
			out[key] = held
		}
	}
	return out
}

func header(r *kgo.Record, name string) string {
	for _, h := range r.Headers {
		if h.Key == name {
			return string(h.Value)
		}
	}
	return ""
}

func versionOf(t testing.TB, r *kgo.Record) versioning.Version {
	t.Helper()
	return testkit.Version(t, header(r, "ce_entityversion"))
}
