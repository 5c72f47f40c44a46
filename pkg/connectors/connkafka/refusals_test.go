package connkafka_test

import (
	"context"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"github.com/hms-utl/extsync/pkg/connectors"
)

const testPassword = "hunter2-and-more"

// What each refusal of the cluster becomes, of an update and of a probe.
func TestRefusals(t *testing.T) {
	b := startBroker(t, "-user", "SCRAM-SHA-256:admin:"+testPassword, "-reader", "PLAIN:reader:"+testPassword)
	b.options = []kgo.Opt{kgo.SASL(scram.Auth{User: "admin", Pass: testPassword}.AsSha256Mechanism())}
	b.topic(t, "people", 3, compacted(nil))
	b.topic(t, "events", 3, map[string]string{"cleanup.policy": "delete"})
	const ok, act, passes = connectors.OK, connectors.Misconfigured, connectors.Transient
	login := func(mechanism, user string) string {
		return "mechanism: " + mechanism + "\nuser: " + user + "\npassword: ${env:P}\n"
	}
	admin := login("scram-sha-256", "admin")
	for name, c := range map[string]struct {
		topic, more, password string
		class                 connectors.Class
		code                  string
		probe                 connectors.Class
	}{
		"good":          {"people", admin, testPassword, ok, "", ok},
		"any cleanup":   {"events", admin + "cleanup: any\n", testPassword, ok, "", ok},
		"not compacted": {"events", admin, testPassword, act, "not_compacted", act},
		"no topic":      {"away", admin, testPassword, act, "UNKNOWN_TOPIC_OR_PARTITION", act},
		// Kafka would answer SASL_AUTHENTICATION_FAILED; kfake ends the connection.
		"wrong password": {"people", admin, "another", passes, "closed", passes},
		"no right":       {"people", login("plain", "reader"), testPassword, act, "TOPIC_AUTHORIZATION_FAILED", ok},
	} {
		t.Run(name, func(t *testing.T) {
			text := config(b.proxy.Addr(), c.topic, c.more)
			conn := open(t, text, map[string]string{"P": c.password})
			defer conn.Close(context.WithoutCancel(t.Context())) //nolint:errcheck // nothing is lost by it
			for n := range 2 {                                   // the second one meets what the first one has left
				want(t, apply(t, conn, attempt("k", int64(n)+1, "{}"))[0], c.class, c.code)
			}
			if err := conn.Probe(t.Context()); (err == nil) != (c.probe == ok) || err != nil && connectors.ClassOf(err) != c.probe {
				t.Errorf("the probe says %v, want %s", err, c.probe)
			}
		})
	}
}
