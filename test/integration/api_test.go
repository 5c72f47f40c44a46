package integration

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/hms-utl/extsync/internal/faults"
	"github.com/hms-utl/extsync/internal/natsserver/natstest"
	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/internal/tokens"
	"github.com/hms-utl/extsync/pkg/channels"
)

var servedAt = regexp.MustCompile(`"address":"([^"]+)"`)

// publisher starts the API in a process of its own and returns its address.
func (r *rig) publisher(name string, env ...string) (*faults.Process, string) {
	r.t.Helper()
	p := r.crew.Start(r.t, faults.Spec{
		Name: name, Path: binary(r.t, "publisher"), Args: []string{"serve"},
		Env: append([]string{"EXTSYNC_NATS_URL=" + r.url, "EXTSYNC_HTTP_LISTEN=127.0.0.1:0"}, env...),
	})
	url := ""
	testkit.Eventually(r.t, "the publisher to serve", func() bool {
		select {
		case <-p.Done():
			r.t.Fatalf("the publisher has ended:\n%s", p.Log())
		default:
		}
		if m := servedAt.FindStringSubmatch(p.Log()); m != nil {
			url = m[1]
		}
		return url != ""
	})
	return p, url
}

// adminKey makes an administrators' key and returns its file.
func adminKey(t testing.TB) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "admin.key")
	if _, err := tokens.MakeKey(file, file+".pub"); err != nil {
		t.Fatal(err)
	}
	return file
}

// fetch makes a request and returns status and body.
func (r *rig) fetch(method, url, body string, headers ...string) (int, string) {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), method, url, strings.NewReader(body))
	r.must(err)
	req.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	r.must(err)
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(resp.Body)
	r.must(err)
	return resp.StatusCode, string(data)
}

// What was answered with 202 is there, although publisher and broker were killed
// right after the answer.
func TestKilledRightAfter202(t *testing.T) {
	t.Parallel()
	rounds := sized(t, "rounds", 10, 100)
	crew := faults.NewCrew(t)
	server := faults.StartServer(t, crew, natsServer(t))
	r := newRigAt(t, crew, server.URL, 1)
	tg := faults.NewHTTPTarget(t, faults.HTTPOptions{})
	r.channel("c", channels.Latest, "http", tg.Connector())
	process, url := r.publisher("p0")
	for round := 1; round <= rounds; round++ {
		status, answer := r.fetch(http.MethodPost, url+"/v1/channels/c/updates", fmt.Sprintf(`{"key":"k%d","version":%d,"payload":{"n":%d}}`, round, round, round))
		process.Kill()
		server.Kill()
		if status != http.StatusAccepted {
			t.Fatalf("status %d: %s", status, answer)
		}
		server.Start(t)
		process, url = r.publisher(fmt.Sprintf("p%d", round))
		for i := 1; i <= round; i++ {
			status, answer := r.fetch(http.MethodGet, fmt.Sprintf("%s/v1/channels/c/entities/k%d", url, i), "")
			if status != http.StatusOK || !strings.Contains(answer, fmt.Sprintf(`"version":"%d"`, i)) {
				t.Fatalf("round %d: k%d is not there any more: %d %s", round, i, status, answer)
			}
		}
	}
	process.Terminate()
	if code, err := process.ExitCode(testkit.Patience); err != nil || code != 0 {
		t.Errorf("exit code %d, %v", code, err)
	}
}

// Two instances are one service: who waits at the second gets the ack of what the
// first has published. Tokens and the audit log are made and read by commands.
func TestTwoPublishersAndTheirTokens(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	tg := faults.NewHTTPTarget(t, faults.HTTPOptions{})
	r.channel("c", channels.Latest, "http", tg.Connector())
	key := adminKey(t)
	broker := []string{"EXTSYNC_NATS_URL=" + r.url, "EXTSYNC_ADMIN_KEY=" + key}
	asking := "EXTSYNC_HTTP_TOKEN_KEYS_FILE=" + key + ".pub"
	command := func(args ...string) program { return program{name: "extsync", args: args, env: broker} }
	var made struct{ ID, Token string }
	command("tokens", "create", "portal", "--scope", "publish,read", "--channel", "c", "--json").decode(t, &made)
	_, one := r.publisher("one", asking)
	_, two := r.publisher("two", asking)
	r.inProcess()
	bearer := []string{"Authorization", "Bearer " + made.Token}
	const body = `{"key":"k","version":1,"payload":{}}`
	if status, answer := r.fetch(http.MethodPost, one+"/v1/channels/c/updates", body); status != http.StatusUnauthorized {
		t.Errorf("without a token: %d %s", status, answer)
	}
	if status, answer := r.fetch(http.MethodPost, one+"/v1/channels/c/updates", body, bearer...); status != http.StatusAccepted {
		t.Errorf("first: %d %s", status, answer)
	}
	if status, answer := r.fetch(http.MethodPost, two+"/v1/channels/c/updates?wait=30s", body, bearer...); status != http.StatusOK || !strings.Contains(answer, `"delivered"`) {
		t.Errorf("second: %d %s", status, answer)
	}
	if list := command("tokens", "list").ok(t); !strings.Contains(list, made.ID) || strings.Contains(list, made.Token) {
		t.Errorf("list:\n%s", list)
	}
	command("tokens", "revoke", made.ID).ok(t)
	if e := command("tokens", "revoke", made.ID).run(t); e.code != 7 {
		t.Errorf("revoked twice: %+v", e)
	}
	for _, url := range []string{one, two} {
		testkit.Eventually(t, "the token to be refused", func() bool {
			status, _ := r.fetch(http.MethodGet, url+"/v1/channels", "", bearer...)
			return status == http.StatusUnauthorized
		})
	}
	acts := command("audit-log", "--json").ok(t)
	if strings.Count(acts, `"done"`) != 2 || !strings.Contains(acts, "token.revoke") || strings.Contains(acts, `"hash"`) {
		t.Errorf("audit log:\n%s", acts)
	}
}

func TestPublisherRefusesTheNetworkWithoutTokens(t *testing.T) {
	t.Parallel()
	r := newRigAt(t, faults.NewCrew(t), natstest.Run(t, natstest.Options{TCP: true}).URL(), 1)
	e := program{name: "publisher", args: []string{"serve", "--http-listen", "0.0.0.0:0", "--nats-url", r.url}}.run(t)
	if e.code != 2 || !strings.Contains(e.err, "extsync tokens key") {
		t.Errorf("publisher serve beyond loopback without a token does not exit with 2 and what to do: %+v", e)
	}
	dir := t.TempDir()
	cert := filepath.Join(dir, "c.pem")
	r.must(os.WriteFile(cert, []byte("x"), 0o600))
	e = program{name: "publisher", args: []string{"serve", "--http-listen", "127.0.0.1:0", "--http-cert-file", cert, "--http-key-file", cert, "--nats-url", r.url}}.run(t)
	if e.code != 2 {
		t.Errorf("a broken certificate: %+v", e)
	}
}
