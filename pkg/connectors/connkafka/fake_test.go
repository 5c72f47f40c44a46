package connkafka_test

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"strconv"
	"testing"

	"github.com/twmb/franz-go/pkg/kbin"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/hms-utl/extsync/internal/testkit"
)

// The numbers of the APIs that a fake broker knows, and the newest versions of them.
var fakeAPIs = map[int16]int16{ //nolint:gochecknoglobals // a table
	apiProduce: 7, apiMetadata: 7, apiHandshake: 1, apiVersions: 2, apiInitProducerID: 1, apiDescribeConfigs: 2, apiAuthenticate: 1,
}

const (
	apiMetadata        = 3
	apiHandshake       = 17
	apiVersions        = 18
	apiDescribeConfigs = 32
	apiAuthenticate    = 36
)

// A fakeAnswer returns what is answered to a request, which is without its header. nil: the
// connection ends.
type fakeAnswer func(api, version int16, request []byte) []byte

// fakeBroker listens until the test is over, and returns where. serve has each connection.
func fakeBroker(t *testing.T, serve func(conn net.Conn)) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	testkit.Must(t, err)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	t.Cleanup(func() {
		stop()
		_ = l.Close() // it only listens
		<-done
	})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			context.AfterFunc(ctx, func() { _ = conn.Close() }) // whatever became of it
			go func() {
				defer conn.Close() //nolint:errcheck // whatever became of it
				serve(conn)
			}()
		}
	}()
	return l.Addr().String()
}

// answering serves a connection as the protocol is: what versions there are it says by itself.
func answering(answer fakeAnswer) func(conn net.Conn) {
	return func(conn net.Conn) {
		for {
			var head [4]byte
			if _, err := io.ReadFull(conn, head[:]); err != nil {
				return
			}
			request := make([]byte, min(binary.BigEndian.Uint32(head[:]), 1<<20))
			if _, err := io.ReadFull(conn, request); err != nil {
				return
			}
			r := kbin.Reader{Src: request}
			api, version, number := r.Int16(), r.Int16(), r.Int32()
			r.NullableString() // the name of the client
			var body []byte
			if api == apiVersions {
				body = versionsAnswer(version)
			} else if body = answer(api, version, r.Src); body == nil {
				return
			}
			out := kbin.AppendInt32(kbin.AppendInt32(nil, int32(len(body))+4), number) //nolint:gosec // a short answer
			if _, err := conn.Write(append(out, body...)); err != nil {
				return
			}
		}
	}
}

// versionsAnswer says which APIs there are, in the oldest form if that of the request is
// newer than this broker.
func versionsAnswer(version int16) []byte {
	resp := kmsg.NewPtrApiVersionsResponse()
	if resp.Version = version; version > fakeAPIs[apiVersions] {
		resp.Version, resp.ErrorCode = 0, 35 // UNSUPPORTED_VERSION
	}
	for api, newest := range fakeAPIs {
		one := kmsg.NewApiVersionsResponseApiKey()
		one.ApiKey, one.MaxVersion = api, newest
		resp.ApiKeys = append(resp.ApiKeys, one)
	}
	return resp.AppendTo(nil)
}

// writable is a broker that answers all but a record as it should: that is for produced, and
// what the topic is for topic.
func writable(t *testing.T, topic func(version int16, addr string) []byte, produced func() []byte) (addr string) {
	t.Helper()
	addr = fakeBroker(t, answering(func(api, version int16, _ []byte) []byte {
		switch api {
		case apiMetadata:
			return topic(version, addr)
		case apiDescribeConfigs:
			resp := kmsg.NewPtrDescribeConfigsResponse()
			resp.Version = version
			return resp.AppendTo(nil)
		case apiInitProducerID:
			resp := kmsg.NewPtrInitProducerIDResponse()
			resp.Version, resp.ProducerID = version, 1
			return resp.AppendTo(nil)
		case apiProduce:
			return produced()
		default:
			return nil
		}
	}))
	return addr
}

// topicAnswer describes the topic people, with a partition that the broker at addr leads.
func topicAnswer(version int16, addr string) []byte { return topicOf(version, addr) }

// topicOf describes the topic people, which has a partition for each broker, led by it.
func topicOf(version int16, brokers ...string) []byte {
	resp := kmsg.NewPtrMetadataResponse()
	resp.Version, resp.ControllerID = version, 1
	topic := kmsg.NewMetadataResponseTopic()
	topic.Topic = kmsg.StringPtr("people")
	for i, addr := range brokers {
		id := int32(i) + 1 //nolint:gosec // there are two
		host, text, _ := net.SplitHostPort(addr)
		port, _ := strconv.ParseInt(text, 10, 32)
		broker := kmsg.NewMetadataResponseBroker()
		broker.NodeID, broker.Host, broker.Port = id, host, int32(port)
		resp.Brokers = append(resp.Brokers, broker)
		partition := kmsg.NewMetadataResponseTopicPartition()
		partition.Partition, partition.Leader, partition.Replicas, partition.ISR = id-1, id, []int32{id}, []int32{id}
		topic.Partitions = append(topic.Partitions, partition)
	}
	resp.Topics = append(resp.Topics, topic)
	return resp.AppendTo(nil)
}
