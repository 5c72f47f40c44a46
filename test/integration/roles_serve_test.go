package integration

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/hms-utl/extsync/internal/brokerconfig"
	"github.com/hms-utl/extsync/internal/cli"
	"github.com/hms-utl/extsync/internal/testkit"
)

var scrapedAt = regexp.MustCompile(`"url":"(http://[^"]+)/metrics"`)

// serving starts a process in a role and returns it with the address that its log
// tells.
func (g *guarded) serving(r brokerconfig.Role, tells *regexp.Regexp, name string, args ...string) (*process, string) {
	g.t.Helper()
	p := g.program(r, name, append(args, "--log-format", "json")...).start(g.t)
	url := ""
	testkit.Eventually(g.t, name+" to serve", func() bool {
		select {
		case <-p.done:
			g.t.Fatalf("it has ended:\n%s", p.stderr())
		default:
		}
		if m := tells.FindStringSubmatch(p.stderr()); m != nil {
			url = m[1]
		}
		return url != ""
	})
	return p, url
}

func (g *guarded) gateway(args ...string) (*process, string) {
	g.t.Helper()
	return g.serving(brokerconfig.Gateway, servedAt, "publisher", append([]string{"serve", "--http-listen", "127.0.0.1:0"}, args...)...)
}

func (g *guarded) worker() (*process, string) {
	g.t.Helper()
	return g.serving(brokerconfig.Worker, scrapedAt, "connector-worker", "run", "--telemetry-listen", "127.0.0.1:0", "--worker-drain-timeout", "1s")
}

// An answer is what a request got.
type answer struct {
	status int
	header http.Header
	body   string
}

// ask makes a request.
func (g *guarded) ask(method, url, body string, header ...string) answer {
	g.t.Helper()
	req, err := http.NewRequestWithContext(g.t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		g.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		g.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		g.t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, string(data)}
}

// unready waits until a process is not ready for a reason.
func (g *guarded) unready(url, why string) {
	g.t.Helper()
	testkit.Eventually(g.t, "/readyz: "+why, func() bool {
		a := g.ask(http.MethodGet, url+"/readyz", "")
		return a.status == http.StatusServiceUnavailable && strings.Contains(a.body, why)
	})
}

func (g *guarded) ready(url string) {
	g.t.Helper()
	testkit.Eventually(g.t, "/readyz", func() bool {
		return g.ask(http.MethodGet, url+"/readyz", "").status == http.StatusOK
	})
}

// end stops a process, which must not have been refused anything but what is
// named.
func (g *guarded) end(p *process, but string) {
	g.t.Helper()
	p.signal(g.t, syscall.SIGTERM)
	if code := p.wait(g.t); code != cli.ExitOK {
		g.t.Errorf("exit code %d", code)
	}
	for line := range strings.Lines(p.stderr()) {
		if strings.Contains(line, "ermissions") && (but == "" || !strings.Contains(line, but)) {
			g.t.Errorf("it was refused something: %s", line)
		}
	}
}

// The HTTP API in the role gateway: all that publishes and reads is allowed, what
// needs an administrator says that there is none, and neither that nor a made-up
// channel makes the instance unready. A worker in its role tells all its metrics.
func TestGatewayServesPublishersAndReaders(t *testing.T) {
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
	api, at := g.gateway()

	for _, r := range []struct {
		method, path, body string
		status             int
		says               string
	}{
		{"POST", "/v1/channels/portal/updates?wait=30s", `{"key":"k","version":1,"payload":{}}`, 200, `"delivered"`},
		{"POST", "/v1/channels/portal/updates", `{"key":"k","version":1,"payload":{}}`, 202, `"duplicate":true`},
		{"POST", "/v1/channels/portal/updates", `{"key":"k","version":1,"payload":{"n":1}}`, 409, `"conflict"`},
		{"POST", "/v1/channels/portal/updates?wait=30s", `{"key":"refused","version":1,"payload":{}}`, 200, `"dead_lettered"`},
		{"POST", "/v1/channels/portal/updates?wait=30s", `{"key":"b","version":1,"payload":{},"ack_service":"anybody"}`, 200, `"delivered"`},
		{"POST", "/v1/updates?wait=30s", `{"channels":["portal","cases"],"key":"m","version":1,"payload":{}}`, 207, `"delivered"`},
		{"POST", "/v1/channels/cases/updates:batch", `{"key":"x","version":1,"payload":{}}` + "\n" + `{"key":"y","version":1,"payload":{}}`, 200, `"status":202`},
		{"GET", "/v1/channels/portal/entities/k", "", 200, `"delivered"`},
		{"GET", "/v1/entities/m", "", 200, `"cases"`},
		{"GET", "/v1/channels/portal/entities?sync=behind,waiting", "", 200, `"entities"`},
		{"GET", "/v1/channels/portal/entities?health=retrying,parked,dead", "", 200, `"entities"`},
		{"GET", "/v1/channels/portal/entities?why=conflict", "", 200, `"entities"`},
		{"GET", "/v1/channels/portal/status", "", 200, `"portal"`},
		{"GET", "/v1/channels/portal/resync", "", 404, `"no_resync"`},
		{"GET", "/v1/channels", "", 200, `"cases"`},
		{"GET", "/v1/connector-kinds", "", 200, `"http"`},
		{"GET", "/v1/dead-letters", "", 200, `"refused"`},
		{"GET", "/v1/dead-letters?channel=portal&key=refused", "", 200, `"refused"`},
		{"GET", "/v1/dead-letters/1", "", 200, `"refused"`},
		{"GET", "/metrics", "", 200, "extsync_updates_published_total"},
		{"GET", "/openapi.json", "", 200, "openapi"},
		{"POST", "/v1/channels/nosuch/updates", `{"key":"k","version":1,"payload":{}}`, 404, `"unknown_channel"`},
		{"GET", "/v1/channels/nosuch/entities/k", "", 404, `"unknown_channel"`},
		{"GET", "/v1/channels/nosuch/status", "", 404, `"unknown_channel"`},
	} {
		a := g.ask(r.method, at+r.path, r.body)
		if a.status != r.status || !strings.Contains(a.body, r.says) {
			t.Errorf("%s %s: %d %s", r.method, r.path, a.status, a.body)
		}
	}
	for _, replayed := range []string{"", "true"} {
		a := g.ask(http.MethodPost, at+"/v1/channels/portal/updates", `{"key":"i","version":1,"payload":{}}`, "Idempotency-Key", "once")
		if got := a.header.Get("Idempotency-Replayed"); a.status != http.StatusAccepted || got != replayed {
			t.Errorf("with an Idempotency-Key: %d, replayed %q, %s", a.status, got, a.body)
		}
	}
	g.followAcks(at+"/v1/acks/anybody", `"key":"b"`)
	g.ready(at)

	for _, r := range []struct{ method, path string }{
		{"GET", "/v1/channels/portal"},
		{"PUT", "/v1/channels/new"},
		{"DELETE", "/v1/channels/portal?confirm=portal"},
		{"POST", "/v1/channels/portal/resync"},
		{"DELETE", "/v1/dead-letters/1"},
	} {
		a := g.ask(r.method, at+r.path, "")
		if a.status != http.StatusServiceUnavailable || !strings.Contains(a.body, `"no_administrator"`) {
			t.Errorf("%s %s: %d %s", r.method, r.path, a.status, a.body)
		}
	}
	g.ready(at)
	g.end(api, "")

	// The next one asks at its start for what only the broker knows.
	next, scraped := g.worker()
	g.ready(scraped)
	if a := g.ask(http.MethodGet, scraped+"/healthz", ""); a.status != http.StatusOK {
		t.Errorf("/healthz: %d %s", a.status, a.body)
	}
	testkit.Eventually(t, "metrics of what only the broker knows", func() bool {
		metrics := g.ask(http.MethodGet, scraped+"/metrics", "").body
		return strings.Contains(metrics, "extsync_refreshed_timestamp_seconds ") && strings.Contains(metrics, `extsync_dead_letters{channel="portal"} 1`)
	})
	g.end(worker, "")
	g.end(next, "")
}

// followAcks reads server-sent events until one says a text.
func (g *guarded) followAcks(url, says string) {
	g.t.Helper()
	req, err := http.NewRequestWithContext(g.t.Context(), http.MethodGet, url, nil)
	if err != nil {
		g.t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		g.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text := ""
	for buf := make([]byte, 4096); !strings.Contains(text, says); {
		n, err := resp.Body.Read(buf)
		text += string(buf[:n])
		if err != nil {
			g.t.Fatalf("acks: %d %q, %v", resp.StatusCode, text, err)
		}
	}
}

// A channel that the broker's configuration does not know yet: who publishes to
// it is told which permission is missing, and so does /readyz, of the publisher
// and of the worker. When the configuration was made again, all is well.
func TestDeniedPublishShowsInReadiness(t *testing.T) {
	t.Parallel()
	url := target(t, func(http.ResponseWriter, *http.Request) {})
	g := newGuarded(t, "portal")
	worker, scraped := g.worker()
	g.unready(scraped, "waiting for the broker, which is provisioned")
	file := g.site.file("channels.yaml", fmt.Sprintf(guardedChannels, url))
	g.program(brokerconfig.Admin, "extsync", "channels", "apply", "-f", file).ok(t) // cases is in no role
	api, at := g.gateway()
	g.ready(at)

	a := g.ask(http.MethodPost, at+"/v1/channels/cases/updates?wait=50s", `{"key":"p-2023-vax","version":1,"payload":{}}`)
	var problem struct{ Reason, Detail string }
	if err := json.Unmarshal([]byte(a.body), &problem); err != nil || a.status != http.StatusServiceUnavailable ||
		problem.Reason != "no_permission" || !strings.Contains(problem.Detail, "cases") || strings.Contains(a.body, "p-2023-vax") {
		t.Errorf("%d %s", a.status, a.body)
	}
	g.unready(at, `permission to`)
	g.unready(at, `cases`)
	g.unready(scraped, "the permission to publish to")
	g.unready(scraped, "sync.out.cases.")
	if metrics := g.ask(http.MethodGet, at+"/metrics", "").body; !strings.Contains(metrics, `extsync_publishes_refused_total{channel="",reason="permission"} 1`) {
		t.Errorf("the refusal is not counted:\n%s", metrics)
	}
	// Other channels are served all the while.
	if a := g.ask(http.MethodPost, at+"/v1/channels/portal/updates?wait=30s", `{"key":"k","version":1,"payload":{}}`); a.status != http.StatusOK {
		t.Errorf("portal: %d %s", a.status, a.body)
	}
	g.end(api, "cases")
	g.end(worker, "cases")
}

// A process that runs in the wrong role says so at its start.
func TestServeInTheWrongRole(t *testing.T) {
	t.Parallel()
	g := newGuarded(t, "portal")
	file := g.site.file("channels.yaml", fmt.Sprintf(guardedChannels, "http://127.0.0.1:9/"))
	g.program(brokerconfig.Admin, "extsync", "channels", "apply", "-f", file).ok(t)
	e := g.program(brokerconfig.Publisher, "publisher", "serve", "--http-listen", "127.0.0.1:0",
		"--http-token-keys-file", filepath.Join(g.dir, "gateway", brokerconfig.TokenKeysFile)).run(t)
	if e.code != cli.ExitBroker || !strings.Contains(e.err, `the permission to publish to "$JS.API.STREAM.INFO.KV_sync_tokens" is missing`) {
		t.Errorf("exit code %d\n%s", e.code, e.err)
	}
}

// A token whose text is known before, from a store of secrets, is made known to a
// broker as often as one likes; another secret under its id is refused.
func TestTokenFromAFile(t *testing.T) {
	t.Parallel()
	g := newGuarded(t, "portal")
	file := g.site.file("channels.yaml", fmt.Sprintf(guardedChannels, "http://127.0.0.1:9/"))
	g.program(brokerconfig.Admin, "extsync", "channels", "apply", "-f", file).ok(t)
	create := func(text string) program {
		return g.program(brokerconfig.Admin, "extsync", "tokens", "create", "portal", "--scope", "publish,read",
			"--from-file", g.site.file("token", text), "--admin-key", filepath.Join(g.dir, brokerconfig.SignerDir, brokerconfig.AdminKeyFile))
	}
	text := strings.TrimSpace(g.site.read(repository + "/deploy/compose/publisher_token"))
	if out := create(text + "\n").ok(t); !strings.HasPrefix(out, "stored: ") || strings.Contains(out, text) {
		t.Errorf("first: %q", out)
	}
	if out := create(text).ok(t); !strings.HasPrefix(out, "was there before: ") {
		t.Errorf("again: %q", out)
	}
	for _, bad := range []string{"", "secret", text[:len(text)-2] + "zz", "est_0123456789ab_short"} {
		if e := create(bad).run(t); e.code != cli.ExitUsage {
			t.Errorf("%q: exit code %d\n%s", bad, e.code, e.err)
		}
	}
	api, at := g.gateway("--http-token-keys-file", filepath.Join(g.dir, "gateway", brokerconfig.TokenKeysFile))
	for token, want := range map[string]int{text: http.StatusOK, text[:len(text)-2] + "zz": http.StatusUnauthorized} {
		if a := g.ask(http.MethodGet, at+"/v1/channels", "", "Authorization", "Bearer "+token); a.status != want {
			t.Errorf("%d %s", a.status, a.body)
		}
	}
	g.end(api, "")
}
