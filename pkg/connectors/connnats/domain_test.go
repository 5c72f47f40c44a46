package connnats_test

import (
	"net"
	"net/url"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connectortest"
)

// A bucket in another domain is written to by the way into that domain: the server's own
// bucket of the same name is left alone.
func TestBucketOfAnotherDomain(t *testing.T) {
	hubOptions := &server.Options{ServerName: "hub", JetStream: true, JetStreamDomain: "hub"}
	hubOptions.LeafNode.Host, hubOptions.LeafNode.Port = "127.0.0.1", server.RANDOM_PORT
	hub := serve(t, hubOptions)
	leafOptions := &server.Options{ServerName: "leaf", JetStream: true, JetStreamDomain: "leaf"}
	leafOptions.LeafNode.ReconnectInterval = 50 * time.Millisecond
	leafOptions.LeafNode.Remotes = []*server.RemoteLeafOpts{{URLs: []*url.URL{{Scheme: "nats-leaf", Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(hubOptions.LeafNode.Port))}}}}
	leaf := serve(t, leafOptions)
	there, here := bucketIn(t, leaf, "hub"), bucketIn(t, leaf, "leaf")
	for _, c := range []*connectors.Opened{
		openWith(t, connectortest.Env(nil), lines(leaf, "domain: hub\n")),
		openWith(t, connectortest.Env(nil), lines(hub, "domain: hub\n")), // which is its own
	} {
		a := attempt("k", 1, "{}")
		want(t, apply(t, c, a)[0], connectors.OK, "")
		a = attempt("k", 2, "{}")
		a.Held = true
		want(t, apply(t, c, a)[0], connectors.OK, "")
		held, err := c.Read(t.Context(), []string{"k"})
		if testkit.Must(t, err); held[0].Version != a.Version {
			t.Errorf("it is said to hold %v", held)
		}
		if entry, err := there.Get(t.Context(), "k"); err != nil || entry.Revision() < 2 {
			t.Errorf("the bucket of the domain: %v", err)
		}
		testkit.Must(t, there.Purge(t.Context(), "k"))
	}
	status, err := here.Status(t.Context())
	if testkit.Must(t, err); status.Values() != 0 {
		t.Errorf("the server's own bucket has %d values", status.Values())
	}
}

// bucketIn makes the bucket in a domain, once the server at the address reaches that.
func bucketIn(t *testing.T, address, domain string) (kv jetstream.KeyValue) {
	t.Helper()
	nc, err := nats.Connect("nats://" + address)
	testkit.Must(t, err)
	t.Cleanup(nc.Close)
	js, err := jetstream.NewWithDomain(nc, domain)
	testkit.Must(t, err)
	testkit.Eventually(t, "the domain "+domain+" has a bucket", func() bool {
		kv, err = js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: "things"})
		return err == nil
	})
	return kv
}

// What the server has removed, and left a marker for, is no document of somebody else's.
func TestMarkerOfTheServerIsADeletedKey(t *testing.T) {
	for _, mode := range modes() {
		t.Run(mode, func(t *testing.T) {
			d := newTarget(t, mode)
			stream, err := d.js.Stream(t.Context(), d.stream)
			testkit.Must(t, err)
			config := stream.CachedInfo().Config
			config.AllowMsgTTL, config.AllowRollup, config.SubjectDeleteMarkerTTL = true, true, time.Hour
			_, err = d.js.UpdateStream(t.Context(), config)
			testkit.Must(t, err)
			c := d.open(t)
			d.put(t, "k", "theirs", jetstream.MsgTTLHeader, "1s")
			testkit.Eventually(t, "the server leaves a marker", func() bool {
				m := d.last(t, "k")
				return m != nil && m.Header.Get(jetstream.MarkerReasonHeader) != ""
			})
			held, err := c.Read(t.Context(), []string{"k"})
			if testkit.Must(t, err); !held[0].IsZero() {
				t.Errorf("it is said to hold %v", held)
			}
			found, err := c.Compare(t.Context(), []connectors.Attempt{attempt("k", 1, "")})
			if testkit.Must(t, err); found[0].Changed != nil {
				t.Errorf("%v has changed", found[0].Changed)
			}
			want(t, apply(t, c, attempt("k", 1, "{}"))[0], connectors.OK, "")
		})
	}
}
