package integration

import (
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"github.com/hms-utl/extsync/internal/broker"
	"github.com/hms-utl/extsync/internal/brokerconfig"
	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/events"
)

// keysOf is the option that names the public half of the administrators' key in a role's
// directory.
func (g *guarded) keysOf(r brokerconfig.Role) []string {
	return []string{"--http-token-keys-file", filepath.Join(g.dir, string(r), brokerconfig.TokenKeysFile)}
}

// administrator starts the HTTP API in the role admin.
func (g *guarded) administrator() (*process, string) {
	g.t.Helper()
	return g.serving(brokerconfig.Admin, servedAt, "publisher", append([]string{"serve", "--http-listen", "127.0.0.1:0"}, g.keysOf(brokerconfig.Admin)...)...)
}

// signer is the file of the administrators' key.
func (g *guarded) signer() string {
	return filepath.Join(g.dir, brokerconfig.SignerDir, brokerconfig.AdminKeyFile)
}

// token makes a token.
func (g *guarded) token(key, scope string, more ...string) (text, id string) {
	g.t.Helper()
	var made struct{ ID, Token string }
	args := append([]string{"tokens", "create", "test", "--scope", scope, "--admin-key", key, "--json"}, more...)
	g.program(brokerconfig.Admin, "extsync", args...).decode(g.t, &made)
	return made.Token, made.ID
}

// What the gateway may not do is done by an administrator, whatever route it is, and
// recorded with who asked and that it came through a gateway. Without an administrator the
// answer says what to do.
func TestAdministrativeRequestsThroughTheGateway(t *testing.T) {
	t.Parallel()
	url := target(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.Header.Get("ce-subject"), "refused") {
			w.WriteHeader(http.StatusBadRequest)
		}
	})
	g := newGuarded(t, "portal,cases")
	file := g.site.file("channels.yaml", fmt.Sprintf(guardedChannels, url))
	g.program(brokerconfig.Admin, "extsync", "channels", "apply", "-f", file).ok(t)
	worker, _ := g.worker()
	api, at := g.gateway(g.keysOf(brokerconfig.Gateway)...)
	all, id := g.token(g.signer(), administrators)
	publish, _ := g.token(g.signer(), "publish")
	cases, _ := g.token(g.signer(), administrators, "--channel", "cases")
	ask := func(token, method, path, body string, header ...string) answer {
		return g.ask(method, at+path, body, append(header, "Authorization", "Bearer "+token)...)
	}
	nobody := ask(all, http.MethodPut, "/v1/channels/portal/pause", "")
	if nobody.status != http.StatusServiceUnavailable || !strings.Contains(nobody.body, `"no_administrator"`) || !strings.Contains(nobody.body, "in the role admin") {
		t.Errorf("without an administrator: %+v", nobody)
	}
	admin, _ := g.administrator()
	for _, key := range []string{"refused", "refused2", "refused3", "refused4"} {
		ask(publish, http.MethodPost, "/v1/channels/portal/updates?wait=30s", `{"key":"`+key+`","version":1,"payload":{}}`)
	}
	tag := ask(all, http.MethodGet, "/v1/channels/portal", "").header.Get("ETag")
	config := `{"connector":{"kind":"http","config":{"url":"https://new.example/"}}}`
	tried := map[string]bool{}
	for _, r := range []struct {
		route, path, body string
		status            int
		says              string
		header            []string
	}{
		{"GET /v1/channels/{channel}", "/v1/channels/portal", "", 200, `"revision"`, nil},
		{"POST /v1/channels/{channel}/probe", "/v1/channels/portal/probe", "", 200, `"partitions"`, nil},
		{"PUT /v1/channels/{channel}", "/v1/channels/new", config, 201, `"created"`, []string{"If-None-Match", "*"}},
		{"PUT /v1/channels/{channel}", "/v1/channels/portal?dry_run=true", config, 200, `"fields"`, []string{"If-Match", tag}},
		{"PUT /v1/channels/{channel}", "/v1/channels/portal", config, 412, `"changed_meanwhile"`, []string{"If-Match", `"9999"`}},
		{"DELETE /v1/channels/{channel}", "/v1/channels/new", "", 409, `"confirm"`, nil},
		{"DELETE /v1/channels/{channel}", "/v1/channels/new?confirm=new", "", 200, `"restorable_until"`, nil},
		{"PUT /v1/channels/{channel}/restore", "/v1/channels/new/restore", "", 200, `"new"`, nil},
		{"PUT /v1/channels/{channel}/pause", "/v1/channels/portal/pause", "", 200, `"portal"`, nil},
		{"PUT /v1/channels/{channel}/resume", "/v1/channels/portal/resume", "", 200, `"portal"`, nil},
		{"PUT /v1/channels/{channel}/reload", "/v1/channels/portal/reload", "", 200, `"portal"`, nil},
		{"POST /v1/channels/{channel}/test", "/v1/channels/portal/test", `{"key":"k","version":7,"payload":{}}`, 200, `"send"`, nil},
		{
			"POST /v1/channels/{channel}/test", "/v1/channels/portal/test", "x", 200, `"send"`,
			[]string{"Content-Type", "text/plain", "ce-specversion", "1.0", "ce-id", "1", "ce-source", "s", "ce-type", "t", "ce-subject", "k", "ce-entityversion", "7"},
		},
		{"POST /v1/channels/{channel}/resync", "/v1/channels/portal/resync", `{"keys":["refused"]}`, 202, `"state"`, nil},
		{"PUT /v1/channels/{channel}/resync/pause", "/v1/channels/cases/resync/pause", "", 404, `"no_resync"`, nil},
		{"PUT /v1/channels/{channel}/resync/resume", "/v1/channels/cases/resync/resume", "", 404, `"no_resync"`, nil},
		{"PUT /v1/channels/{channel}/resync/stop", "/v1/channels/cases/resync/stop", "", 404, `"no_resync"`, nil},
		{"PUT /v1/topics/{topic}", "/v1/topics/policies", "{}", 201, `"created"`, []string{"If-None-Match", "*"}},
		{"PUT /v1/topics/{topic}", "/v1/topics/policies?dry_run=true", `{"max_bytes":"1MiB"}`, 200, `"changed"`, nil},
		{"DELETE /v1/topics/{topic}", "/v1/topics/policies", "", 409, `"confirm"`, nil},
		{"DELETE /v1/topics/{topic}", "/v1/topics/policies?confirm=policies", "", 200, `"policies"`, nil},
		{"GET /v1/tokens", "/v1/tokens", "", 200, `"tokens"`, nil},
		{"GET /v1/sessions", "/v1/sessions", "", 200, `"sessions"`, nil},
		{"DELETE /v1/sessions/{session}", "/v1/sessions/00000000000000000000000000000000", "", 200, `"ended":true`, nil},
		{"GET /v1/doctor", "/v1/doctor", "", 200, `"findings"`, nil},
		{"POST /v1/dead-letters/{sequence}/replay", "/v1/dead-letters/1/replay", "", 409, `"still_fails"`, nil},
		{"DELETE /v1/dead-letters/{sequence}", "/v1/dead-letters/1", "", 200, `"discarded":true`, nil},
		{"GET /v1/dead-letters/{sequence}/payload", "/v1/dead-letters/2/payload", "", 200, `"payload"`, nil},
		{"POST /v1/jobs", "/v1/jobs", `{"action":"replay","letters":{"channel":"portal"},"dry_run":true}`, 200, `"total":3`, nil},
		{"POST /v1/jobs", "/v1/jobs", `{"action":"replay","letters":{"channel":"portal"}}`, 202, `"running"`, nil},
		{"POST /v1/jobs", "/v1/jobs", `{"action":"discard","letters":{"channel":"portal"}}`, 422, `reason`, nil},
		{"GET /v1/activity/{id}", "/v1/activity/1-x", "", 404, `"unknown_record"`, nil},
		{"GET /v1/channels/{channel}/history", "/v1/channels/portal/history", "", 200, `"revisions"`, nil},
		{"POST /v1/channels/{channel}/dry-run", "/v1/channels/portal/dry-run", config, 200, `"outcomes"`, nil},
		{"GET /v1/channels/{channel}/entities/{key}/payload", "/v1/channels/portal/entities/refused2/payload", "", 200, `"payload"`, nil},
		{"POST /v1/channels/{channel}/entities/{key}/read-back", "/v1/channels/portal/entities/refused2/read-back", "", 200, `"readable"`, nil},
		{"POST /v1/channels/{channel}/entities/{key}/give-up", "/v1/channels/portal/entities/nothing/give-up", "", 404, `"unknown_key"`, nil},
		{"POST /v1/channels/{channel}/entities/{key}/reset", "/v1/channels/portal/entities/refused2/reset", "", 409, `"confirm"`, nil},
		{"PUT /v1/jobs/{job}/stop", "/v1/jobs/019a0000-0000-7000-8000-000000000000/stop", "", 404, `"unknown_job"`, nil},
	} {
		method, _, _ := strings.Cut(r.route, " ")
		tried[r.route] = true
		if a := ask(all, method, r.path, r.body, r.header...); a.status != r.status || !strings.Contains(a.body, r.says) {
			t.Errorf("%s %s: %d %s", method, r.path, a.status, a.body)
		}
	}
	for _, route := range administrative(t, g.ask(http.MethodGet, at+"/openapi.json", "").body) {
		if !tried[route] {
			t.Errorf("not tried: %s", route)
		}
	}
	for token, want := range map[string]int{"": http.StatusUnauthorized, "est_000000000000_x": http.StatusUnauthorized, publish: http.StatusForbidden, cases: http.StatusForbidden} {
		if a := ask(token, http.MethodPut, "/v1/channels/portal/pause", ""); a.status != want {
			t.Errorf("%d %s", a.status, a.body)
		}
	}
	reads := `{"from":{"topic":"policies"},` + config[1:]
	if a := ask(cases, http.MethodPut, "/v1/channels/cases?dry_run=true", reads); a.status != http.StatusForbidden || !strings.Contains(a.body, "the topic that the channel would read") {
		t.Errorf("a token for a channel has it read a topic: %d %s", a.status, a.body)
	}
	if large := ask(all, http.MethodPost, "/v1/channels/portal/resync", `{"prefix":"`+strings.Repeat("x", 1<<20-20)+`"}`); large.status != http.StatusRequestEntityTooLarge {
		t.Errorf("larger than the broker carries: %d %s", large.status, large.body)
	}
	var log struct {
		Acts []struct{ Actor, From, Action, Result string }
	}
	g.program(brokerconfig.Admin, "extsync", "audit-log", "--json").decode(t, &log)
	relayed := 0
	for _, a := range log.Acts {
		if !strings.HasPrefix(a.Actor, "command ") {
			relayed++
			if a.Action == "job.end" { // which nobody has asked for
				continue
			}
			if a.Actor != "token "+id+" (test)" || !strings.HasPrefix(a.From, "a gateway, which names 127.0.0.1:") {
				t.Errorf("act %+v", a)
			}
		}
	}
	if relayed < 10 {
		t.Errorf("only %d acts in %+v", relayed, log.Acts)
	}
	g.ready(at)
	g.end(admin, "")
	if a := ask(all, http.MethodPut, "/v1/channels/portal/pause", ""); !strings.Contains(a.body, `"no_administrator"`) {
		t.Errorf("the administrator has ended: %+v", a)
	}
	g.end(api, "")
	g.end(worker, "sync.out.new.") // the roles were made before that channel, and the worker may have tried it
}

// administrators are the scopes whose routes a gateway has an administrator answer.
const administrators = "payload,operate,configure,admin"

// administrative lists the routes that need one of these scopes.
func administrative(t *testing.T, openapi string) (routes []string) {
	t.Helper()
	var doc struct {
		Paths map[string]map[string]struct{ Security []map[string][]string }
	}
	decodeJSON(t, openapi, &doc)
	for path, operations := range doc.Paths {
		for method, op := range operations {
			if len(op.Security) > 0 && slices.Contains(strings.Split(administrators, ","), strings.Join(op.Security[0]["token"], "")) {
				routes = append(routes, strings.ToUpper(method)+" "+path)
			}
		}
	}
	if len(routes) < 15 {
		t.Errorf("only %d routes: %v", len(routes), routes)
	}
	return routes
}

// reachedByAll lets the users of all roles publish what only the gateway may ask
// administrators: their accounts are what keeps it from them.
func reachedByAll(conf string) string {
	return strings.ReplaceAll(conf, "publish { allow: [", `publish { allow: ["sync.adm.http", `)
}

// Whoever has taken a gateway over can ask an administrator for anything, and is refused
// there what the gateway would have been: without a token, with one that will not do, and on
// any route that is not administrative, however its path is written. Other roles do not reach it.
func TestAdministratorBelievesNothingOfTheGateway(t *testing.T) {
	t.Parallel()
	g := newGuardedBy(t, "portal,cases", reachedByAll, "--group", "mine:portal")
	file := g.site.file("channels.yaml", fmt.Sprintf(guardedChannels, "http://127.0.0.1:9/"))
	g.program(brokerconfig.Admin, "extsync", "channels", "apply", "-f", file).ok(t)
	other := filepath.Join(t.TempDir(), "other.key")
	extsync("tokens", "key", "--out", other).ok(t)
	all, _ := g.token(g.signer(), administrators)
	foreign, _ := g.token(other, administrators)
	read, _ := g.token(g.signer(), "read,publish")
	cases, _ := g.token(g.signer(), administrators, "--channel", "cases")
	revoked, id := g.token(g.signer(), administrators)
	g.program(brokerconfig.Admin, "extsync", "tokens", "revoke", id, "--admin-key", g.signer()).ok(t)
	admin, at := g.administrator()

	connect := func(r brokerconfig.Role) *nats.Conn {
		nc, err := broker.Connect(t.Context(), g.nats(r), zerolog.Nop())
		testkit.Must(t, err)
		t.Cleanup(nc.Close)
		return nc
	}
	gateway, subject := connect(brokerconfig.Gateway), wire.Administration(events.DefaultNames())
	ask := func(token, method, path string, header ...string) string {
		msg := nats.NewMsg(subject)
		msg.Header.Set("Extsync-Method", method)
		msg.Header.Set("Extsync-Path", path)
		if token != "" {
			msg.Header.Set("Authorization", "Bearer "+token)
		}
		for i := 0; i < len(header); i += 2 {
			msg.Header.Set(header[i], header[i+1])
		}
		reply, err := gateway.RequestMsg(msg, testkit.Patience)
		testkit.Must(t, err)
		if code := reply.Header.Get("Extsync-Error"); code != "" {
			return code
		}
		var p struct{ Reason string }
		_ = json.Unmarshal(reply.Data, &p) // some are no problems
		return strings.TrimSpace(reply.Header.Get("Extsync-Status") + " " + p.Reason)
	}
	const pause = "/v1/channels/portal/pause"
	for _, r := range []struct{ what, token, method, path, want string }{
		{"no token", "", "PUT", pause, "401 no_token"},
		{"no token at all", "x", "PUT", pause, "401 bad_token"},
		{"of another key", foreign, "PUT", pause, "401 bad_token"},
		{"revoked", revoked, "PUT", pause, "401 bad_token"},
		{"another scope", read, "PUT", pause, "403 forbidden"},
		{"another channel", cases, "PUT", pause, "403 forbidden"},
		{"another channel's key", cases, "POST", "/v1/channels/portal/entities/k/give-up", "403 forbidden"},
		{"a publish", all, "POST", "/v1/channels/portal/updates", "403 forbidden"},
		{"a publish", read, "POST", "/v1/channels/portal/updates", "403 forbidden"},
		{"a reading", read, "GET", "/v1/channels", "403 forbidden"},
		{"metrics", read, "GET", "/metrics", "403 forbidden"},
		{"a public route", "", "GET", "/healthz", "403 forbidden"},
		{"a public route", "", "GET", "/openapi.json", "403 forbidden"},
		{"an event stream", read, "GET", "/v1/acks/billing", "403 forbidden"},
		{"no route", all, "GET", "/v2", "404 unknown_route"},
		{"no method", all, "POST", pause, "405 method"},
		{"another method", all, "PATCH", pause, "malformed"},
		{"CONNECT", all, "CONNECT", pause, "malformed"},
		{"a smuggled line", all, "PUT HTTP/1.1\r\nX: y", pause, "malformed"},
		{"empty parts", "", "PUT", "//v1/channels/portal/pause", "307 moved"},
		{"dotted parts", "", "PUT", "/healthz/../v1/channels/portal/pause", "307 moved"},
		{"dotted parts", "", "GET", "/v1/channels/portal/../../../healthz", "307 moved"},
		{"an escaped slash", all, "PUT", "/v1/channels/portal%2fpause", "400 bad_request"}, // a channel of that name, without a body
		{"an escaped slash", cases, "PUT", "/v1/channels/cases%2f..%2fportal/pause", "403 forbidden"},
		{"an escaped dot", cases, "PUT", "/v1/channels/%2e%2e/channels/portal/pause", "404 unknown_route"},
		{"an absolute address", all, "PUT", "http://elsewhere/v1/channels/portal/pause", "malformed"},
		{"a host", "", "PUT", "//elsewhere/v1/channels/portal/pause", "404 unknown_route"},
		{"*", all, "PUT", "*", "malformed"},
		{"nothing", all, "PUT", "", "malformed"},
		{"a broken escape", all, "PUT", "/v1/channels/%zz/pause", "malformed"},
		{"too long", all, "GET", "/v1/channels/" + strings.Repeat("x", 9000), "malformed"},
		{"the right one", all, "GET", "/v1/channels/portal", "200"},
	} {
		if got := ask(r.token, r.method, r.path); got != r.want {
			t.Errorf("%s: %s %.60q gave %q, want %q", r.what, r.method, r.path, got, r.want)
		}
	}
	for _, route := range administrative(t, g.ask(http.MethodGet, at+"/openapi.json", "").body) {
		method, path, _ := strings.Cut(route, " ")
		path = strings.NewReplacer("{channel}", "portal", "{sequence}", "1", "{session}", strings.Repeat("0", 32)).Replace(path)
		for token, want := range map[string]string{"": "401 no_token", foreign: "401 bad_token", revoked: "401 bad_token", read: "403 forbidden", cases: "403 forbidden"} {
			if got := ask(token, method, path); got != want && (token != cases || strings.Contains(path, "portal")) {
				t.Errorf("%s: %q, want %q", route, got, want)
			}
		}
	}
	// Of the header only a few fields count.
	for _, header := range [][]string{{"X-Http-Method-Override", "DELETE"}, {"Content-Encoding", "gzip"}, {"Host", "elsewhere"}, {"Transfer-Encoding", "chunked"}} {
		if got := ask(all, "PUT", "/v1/channels/portal/resume", header...); got != "200" {
			t.Errorf("%q: %s", header, got)
		}
	}
	if got := ask(all, "PUT", "/v1/channels/portal/resume", "Extsync-From", "10.0.0.1:1\" admin"); got != "200" {
		t.Errorf("a made-up address: %s", got)
	}
	if got := ask(all, "PUT", "/v1/channels/portal/resume", "If-Match", strings.Repeat("x", 9000)); got != "malformed" {
		t.Errorf("a long header: %s", got)
	}
	if log := g.program(brokerconfig.Admin, "extsync", "audit-log", "--json").ok(t); strings.Contains(log, "channel.pause") || !strings.Contains(log, "a gateway, which names no address") || strings.Contains(log, "10.0.0.1") {
		t.Errorf("audit log:\n%s", log)
	}
	for _, role := range []brokerconfig.Role{brokerconfig.Publisher, groupRole, brokerconfig.Worker} {
		msg := nats.NewMsg(subject)
		msg.Header.Set("Authorization", "Bearer "+all)
		msg.Header.Set("Extsync-Method", "GET")
		msg.Header.Set("Extsync-Path", "/v1/channels/portal")
		if reply, err := connect(role).RequestMsg(msg, time.Minute); err == nil || err.Error() != nats.ErrNoResponders.Error() {
			t.Errorf("%s: %v, %v", role, reply, err)
		}
	}
	g.end(admin, "")
	for _, secret := range []string{all, foreign, read, cases, revoked} {
		if _, text, _ := strings.Cut(secret[4:], "_"); strings.Contains(admin.stderr(), text) {
			t.Error("a token is in the log")
		}
	}
}

// Where the broker's configuration was not written again, the answer names what is missing.
func TestGatewayThatMayNotAskSaysSo(t *testing.T) {
	t.Parallel()
	g := newGuardedBy(t, "portal,cases", func(conf string) string {
		return regexp.MustCompile(`(?m)^.*"sync\.adm\.http".*$`).ReplaceAllString(conf, "")
	})
	file := g.site.file("channels.yaml", fmt.Sprintf(guardedChannels, "http://127.0.0.1:9/"))
	g.program(brokerconfig.Admin, "extsync", "channels", "apply", "-f", file).ok(t)
	api, at := g.gateway()
	a := g.ask(http.MethodPut, at+"/v1/channels/portal/pause", "")
	if a.status != http.StatusServiceUnavailable || !strings.Contains(a.body, `"no_permission"`) || !strings.Contains(a.body, "sync.adm.") {
		t.Errorf("%d %s", a.status, a.body)
	}
	g.unready(at, "sync.adm.")
	g.end(api, "sync.adm.")
}
