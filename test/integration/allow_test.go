package integration

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/hms-utl/extsync/internal/cli"
	"github.com/hms-utl/extsync/internal/testkit"
)

// TestChannelsGetWhatTheOperatorAllows: whoever could configure one channel had every
// secret of the worker sent to a target of his own, reached every network and wrote files
// anywhere. Each channel here is one such attempt, and blocked by it; nothing of it
// reaches anybody, nor is it shown anywhere.
func TestChannelsGetWhatTheOperatorAllows(t *testing.T) {
	t.Parallel()
	const canary = "loot-canary"
	var mu sync.Mutex
	var seen strings.Builder
	url := target(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		_, _ = fmt.Fprintf(&seen, "%s %v %s\n", r.URL, r.Header, body)
		_, _ = io.WriteString(w, `{"access_token":"t"}`)
	})
	got := func() string {
		mu.Lock()
		defer mu.Unlock()
		return seen.String()
	}
	s := newSite(t)
	secrets := filepath.Join(s.dir, "secrets")
	testkit.Must(t, os.Mkdir(secrets, 0o700))
	outside := s.file("key", canary)
	testkit.Must(t, os.Symlink(outside, filepath.Join(secrets, "link")))
	database := filepath.Join(s.dir, "planted.db")
	apply := func(name, connector string) ended {
		t.Helper()
		file := s.file("channels.yaml", fmt.Sprintf("channels: [{name: %s, connector: %s}]", name, connector))
		return s.extsync("channels", "apply", "-f", file).run(t)
	}
	http := func(more string) string {
		return fmt.Sprintf("{kind: http, config: {url: %q, allow_cidrs: [127.0.0.0/8], %s}}", url, more)
	}
	oauth := func(loot string) string {
		return http(fmt.Sprintf("auth: {oauth2: {token_url: %q, client_id: a, client_secret: '${env:CHANNEL_MINE}', params: {loot: %q}}}", url, loot))
	}
	attempts := map[string]struct{ connector, says string }{
		"file":      {oauth("${file:" + outside + "}"), "allow.files"},
		"passwd":    {oauth("${file:/etc/passwd}"), "allow.files"},
		"dots":      {oauth("${file:" + secrets + "/../key}"), "allow.files"},
		"link":      {oauth("${file:" + secrets + "/link}"), secrets + "/link"},
		"variable":  {http("headers: {X-Loot: '${env:FOREIGN}'}"), "allow.env"},
		"own":       {http("headers: {X-Loot: '${env:EXTSYNC_NATS_NAME}'}"), "extsync's own"},
		"narrowed":  {http("headers: {X-Loot: '${env:CHANNEL_MINE}'}"), "allow.channels.narrowed.env"},
		"networks":  {fmt.Sprintf("{kind: http, config: {url: %q, allow_cidrs: [0.0.0.0/0]}}", url), "allow.networks"},
		"elsewhere": {"{kind: sql, config: {dialect: postgres, dsn: 'postgres://u@127.0.0.1:1/d', allow_cidrs: [127.0.0.0/8, 10.0.0.0/8]}}", "allow.networks"},
		"database":  {fmt.Sprintf("{kind: sql, config: {dialect: sqlite, dsn: %q, auto_create: true}}", database), "allow.databases"},
		"socket":    {"{kind: sql, config: {dialect: postgres, dsn: 'host=/tmp user=u dbname=d'}}", "allow.databases"},
	}
	for name, a := range attempts {
		if e := apply(name, a.connector); e.code != 0 {
			t.Fatalf("%s: %+v", name, e)
		}
		s.extsync("push", name, "k", "1", "--data", "{}").ok(t)
	}
	// A secret in a name is refused before it is stored, and so shown by nobody.
	for name, connector := range map[string]string{
		"host":   fmt.Sprintf("{kind: http, config: {url: 'http://${file:%s}.invalid/'}}", outside),
		"path":   fmt.Sprintf("{kind: http, config: {url: 'http://a.invalid/${file:%s}'}}", outside),
		"header": "{kind: http, config: {url: 'http://a.invalid/', headers: {'X-${env:CHANNEL_MINE}': a}}}",
		"dsn":    "{kind: sql, config: {dialect: mysql, dsn: 'u@tcp(${env:CHANNEL_MINE}:1)/d'}}",
	} {
		if e := apply(name, connector); e.code != cli.ExitUsage {
			t.Errorf("%s: %+v", name, e)
		}
	}
	worker := program{name: "connector-worker", args: []string{"run"}, env: append(s.env,
		"EXTSYNC_ALLOW_FILES="+secrets, "EXTSYNC_ALLOW_NETWORKS=127.0.0.0/8", "EXTSYNC_ALLOW_DATABASES="+secrets, "EXTSYNC_ALLOW_CHANNELS={narrowed: {env: [OTHER_*]}}",
		"EXTSYNC_NATS_NAME="+canary, "CHANNEL_MINE=mine-mine-mine", "FOREIGN="+canary,
	)}.start(t)
	for name, a := range attempts {
		testkit.Eventually(t, name+" is blocked", func() bool {
			out := s.extsync("get", "k", "--channel", name).run(t).out
			return strings.Contains(out, "blocked") && strings.Contains(out, a.says)
		})
	}
	for what, text := range map[string]string{
		"target": got(), "log": worker.stderr(), "key": s.extsync("get", "k", "--timeline", "--json").ok(t),
		"status": s.extsync("status", "--json", "--interval", "200ms").ok(t), "audit log": s.extsync("audit-log", "--json").ok(t),
	} {
		if strings.Contains(text, canary) && what != "log" || strings.Contains(text, "mine-mine-mine") || strings.Contains(text, "root:") {
			t.Errorf("%s shows a secret:\n%s", what, text)
		}
	}
	if got() != "" {
		t.Errorf("the target was called:\n%s", got())
	}
	if _, err := os.Stat(database); !os.IsNotExist(err) {
		t.Errorf("the database was written: %v", err)
	}
	// What is allowed goes on.
	if e := apply("fine", http("headers: {X-Token: '${env:CHANNEL_MINE}'}")); e.code != 0 {
		t.Fatalf("%+v", e)
	}
	s.extsync("push", "fine", "k", "1", "--data", "{}", "--wait", "30s").ok(t)
	if !strings.Contains(got(), "mine-mine-mine") {
		t.Errorf("the target saw:\n%s", got())
	}
}
