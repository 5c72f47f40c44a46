package integration

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"github.com/hms-utl/extsync/internal/broker"
	"github.com/hms-utl/extsync/internal/brokerconfig"
	"github.com/hms-utl/extsync/internal/cli"
	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/channels"
)

const guardedTopics = `
topics:
  - {name: policies, max_bytes: 4MiB}
  - {name: secrets, max_bytes: 4MiB}
channels:
  - name: crm
    from: {topic: policies}
    retry: {initial_backoff: 20ms, max_backoff: 100ms}
    connector: {kind: http, config: {url: %[1]q, allow_cidrs: [127.0.0.0/8]}}
  - name: web
    from: {topic: policies, keys: "p-"}
    partitions: 4
    retry: {initial_backoff: 20ms, max_backoff: 100ms}
    connector: {kind: http, config: {url: %[1]q, allow_cidrs: [127.0.0.0/8]}}
  - name: vault
    from: {topic: secrets}
    connector: {kind: http, config: {url: %[1]q, allow_cidrs: [127.0.0.0/8]}}
`

// A group of publishers publishes to its topic and hears of the channels that it was given, a
// worker delivers, resyncs and makes keys start anew, each with its own permissions; the other
// topic is nobody's business.
func TestTopicsUnderRealPermissions(t *testing.T) {
	t.Parallel()
	var sick atomic.Bool
	sick.Store(true)
	url := target(t, func(w http.ResponseWriter, r *http.Request) {
		if sick.Load() && strings.Contains(r.Header.Get("ce-subject"), "slow") {
			w.WriteHeader(http.StatusInternalServerError)
		}
	})
	g := newGuarded(t, "crm,web,vault", "--topics", "policies,secrets", "--group", "mine:topics/policies,crm,web", "--group", "theirs:topics/policies,topics/secrets,vault:billing")
	file := g.site.file("channels.yaml", fmt.Sprintf(guardedTopics, url))
	g.program(brokerconfig.Admin, "extsync", "channels", "apply", "-f", file).ok(t)
	worker, _ := g.worker()
	api, at := g.gateway()

	// The other group, which has the topic but not its channels.
	nc, err := broker.Connect(t.Context(), g.nats("publisher-theirs"), zerolog.Nop())
	testkit.Must(t, err)
	defer nc.Close()
	others := map[string]*nats.Subscription{}
	for _, subject := range []string{"_INBOX_publisher-theirs.>", "$KV.sync_ledger.vault.*.*.*"} {
		others[subject], err = nc.SubscribeSync(subject)
		testkit.Must(t, err)
	}
	testkit.Must(t, nc.Flush())
	out := g.program(groupRole, "publisher", "push", "--topic", "policies", "p-1", "1", "--data", `{}`, "--wait", "30s").ok(t)
	if !strings.Contains(out, "crm: ack: delivered") || !strings.Contains(out, "web: ack: delivered") {
		t.Errorf("push: %s", out)
	}
	g.program(groupRole, "extsync", "wait", "--topic", "policies", "p-1@1").ok(t)
	for _, role := range []brokerconfig.Role{groupRole, brokerconfig.Publisher, brokerconfig.Gateway} {
		if out := g.program(role, "extsync", "topics", "show", "policies").ok(t); !strings.Contains(out, "crm, web") {
			t.Errorf("%s sees %s", role, out)
		}
	}
	for subject, sub := range others {
		if n, _, err := sub.Pending(); err != nil || n > 0 {
			t.Errorf("%s: %d messages, %v", subject, n, err)
		}
	}
	e := g.program(groupRole, "publisher", "push", "--topic", "secrets", "k", "1", "--data", `{}`).run(t)
	if e.code != cli.ExitBroker || !strings.Contains(e.err, "the permission to publish to") || !strings.Contains(e.err, "secrets") {
		t.Errorf("it publishes to the topic of others: %+v", e)
	}
	if e := g.program(groupRole, "publisher", "push", "crm", "k", "1", "--data", `{}`).run(t); e.code == cli.ExitOK || !strings.Contains(e.err, "topic policies") {
		t.Errorf("to a channel that reads a topic: %+v", e)
	}

	// All publishers, and the gateway.
	g.program(brokerconfig.Publisher, "publisher", "push", "--topic", "secrets", "k", "1", "--data", `{}`, "--wait", "30s").ok(t)
	for _, r := range []struct {
		method, path, body string
		status             int
		says               string
	}{
		{"POST", "/v1/topics/policies/updates?wait=30s", `{"key":"p-2","version":1,"payload":{}}`, 200, `"outcome":"delivered"`},
		{"POST", "/v1/topics/policies/updates:batch", `{"key":"p-3","version":1,"payload":{}}`, 200, `"status":202`},
		{"POST", "/v1/topics/nosuch/updates", `{"key":"p-3","version":1,"payload":{}}`, 404, `"unknown_topic"`},
		{"GET", "/v1/topics/policies/entities/p-3/outcome?version=1", "", 200, `"outcome":"delivered"`},
		{"GET", "/v1/topics/policies/entities/p-2", "", 200, `"version":"1"`},
		{"GET", "/v1/topics/policies", "", 200, `["crm","web"]`},
		{"GET", "/v1/topics", "", 200, `"secrets"`},
		{"GET", "/v1/topics/nosuch/entities/k", "", 404, `"unknown_topic"`},
		{"GET", "/v1/entities/p-2", "", 200, `"policies"`},
		{"GET", "/v1/channels/crm/status", "", 200, `"crm"`},
		{"PUT", "/v1/topics/policies", "{}", 503, `"no_administrator"`},
		{"DELETE", "/v1/topics/policies?confirm=policies", "", 503, `"no_administrator"`},
	} {
		if a := g.ask(r.method, at+r.path, r.body); a.status != r.status || !strings.Contains(a.body, r.says) {
			t.Errorf("%s %s: %d %s", r.method, r.path, a.status, a.body)
		}
	}

	// A token for the topic and one of its channels, from the command to the answer.
	token, _ := g.token(g.signer(), "publish", "--topic", "policies", "--channel", "crm")
	if list := g.program(brokerconfig.Admin, "extsync", "tokens", "list", "--admin-key", g.signer()).ok(t); !strings.Contains(list, "crm,topics/policies") {
		t.Errorf("tokens: %s", list)
	}
	asking, guardedAt := g.gateway(g.keysOf(brokerconfig.Gateway)...)
	for topic, want := range map[string]int{"policies": http.StatusOK, "secrets": http.StatusForbidden} {
		a := g.ask(http.MethodPost, guardedAt+"/v1/topics/"+topic+"/updates?wait=30s", `{"key":"p-4","version":1,"payload":{}}`, "Authorization", "Bearer "+token)
		if a.status != want || strings.Contains(a.body, `"web"`) || strings.Contains(a.body, `"channel":"crm"`) != (want == http.StatusOK) {
			t.Errorf("with a token for policies and crm, to %s: %d %s", topic, a.status, a.body)
		}
	}
	g.end(asking, "")

	// Another worker takes over keys that fail, and what administrators ask for is done.
	for v := range 8 {
		g.program(brokerconfig.Publisher, "publisher", "push", "--topic", "policies", "p-slow", fmt.Sprint(v+1), "--data", `{}`).ok(t)
	}
	g.end(worker, "")
	next, scraped := g.worker()
	sick.Store(false)
	g.program(groupRole, "extsync", "wait", "--topic", "policies", "p-slow@8", "--timeout", "60s").ok(t)
	registry, err := g.client(brokerconfig.Admin).Registry(t.Context())
	testkit.Must(t, err)
	testkit.Must(t, registry.ResetTopicKey(t.Context(), "policies", "p-1"))
	for _, channel := range []string{"crm", "web"} {
		_, err := registry.StartResync(t.Context(), channel, channels.Selection{})
		testkit.Must(t, err)
		testkit.Eventually(t, "the resync to be over", func() bool {
			s, err := registry.ResyncStatus(t.Context(), channel)
			return err == nil && s.State == channels.ResyncDone
		})
	}
	g.ready(at)
	g.ready(scraped)
	for _, role := range []brokerconfig.Role{groupRole, brokerconfig.Publisher, brokerconfig.Worker} {
		if e := g.program(role, "extsync", "doctor").run(t); !strings.Contains(e.out, ": none is missing") {
			t.Errorf("doctor as %s:\n%s%s", role, e.out, e.err)
		}
	}
	g.end(api, "")
	g.end(next, "")
}

// A topic that the broker's configuration does not know yet hides no other, and whoever asks
// for it is told at once which permission is missing.
func TestTopicWithoutPermissionsHidesNoOther(t *testing.T) {
	t.Parallel()
	g := newGuarded(t, "crm,web,vault", "--topics", "policies")
	file := g.site.file("channels.yaml", fmt.Sprintf(guardedTopics, "https://target.example/in"))
	g.program(brokerconfig.Admin, "extsync", "channels", "apply", "-f", file).ok(t)
	_, at := g.gateway()
	if a := g.ask(http.MethodGet, at+"/v1/topics", ""); a.status != http.StatusOK || !strings.Contains(a.body, `"policies"`) || strings.Contains(a.body, `"secrets"`) {
		t.Errorf("the list: %d %s", a.status, a.body)
	}
	for _, path := range []string{"/v1/topics/secrets", "/v1/topics/secrets/entities/k"} {
		if a := g.ask(http.MethodGet, at+path, ""); a.status != http.StatusServiceUnavailable || !strings.Contains(a.body, "SYNC_TOPIC_secrets") || !strings.Contains(a.body, `"no_permission"`) {
			t.Errorf("%s: %d %s", path, a.status, a.body)
		}
	}
	a := g.ask(http.MethodPost, at+"/v1/topics/secrets/updates", `{"key":"k","version":1,"payload":{}}`)
	if a.status != http.StatusServiceUnavailable || !strings.Contains(a.body, `"no_permission"`) {
		t.Errorf("publishing: %d %s", a.status, a.body)
	}
	g.unready(at, "secrets")
}

// A group that was given a topic and not the channels that read it publishes, and says which
// permission it lacks to wait.
func TestGroupWithoutTheChannelsOfItsTopic(t *testing.T) {
	t.Parallel()
	g := newGuarded(t, "crm,web,vault", "--topics", "policies,secrets", "--group", "mine:topics/policies")
	file := g.site.file("channels.yaml", fmt.Sprintf(guardedTopics, target(t, func(http.ResponseWriter, *http.Request) {})))
	g.program(brokerconfig.Admin, "extsync", "channels", "apply", "-f", file).ok(t)
	worker, _ := g.worker()
	g.program(groupRole, "publisher", "push", "--topic", "policies", "p-1", "1", "--data", `{}`).ok(t)
	e := g.program(groupRole, "publisher", "push", "--topic", "policies", "p-1", "1", "--data", `{}`, "--wait", "30s").run(t)
	if e.code != cli.ExitBroker || !strings.Contains(e.err, "the permission to subscribe to \"$KV.sync_ledger.crm.") {
		t.Errorf("it waits: %+v", e)
	}
	g.end(worker, "")
}
