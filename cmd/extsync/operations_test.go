package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"github.com/hms-utl/extsync/internal/app"
	"github.com/hms-utl/extsync/internal/cli"
	"github.com/hms-utl/extsync/internal/config"
	"github.com/hms-utl/extsync/internal/natsserver/natstest"
	"github.com/hms-utl/extsync/internal/operate"
	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/connectors"
)

// An operation is what a command and an operation of the HTTP API do, and show as the same
// JSON.
type operation struct {
	id      string   // of the HTTP API
	command string   // its path
	args    []string // after the command
	method  string
	path    string
	body    string
	// within is the field of the command's document that has the answer of HTTP, as the
	// first of a list.
	within string
	// except are fields that one of them has and the other cannot have, with the reason.
	except map[string]string
}

// operations are in an order in which each finds what it needs. Each is done by the command,
// then by HTTP.
func operations(dir string) []operation {
	file, topic := filepath.Join(dir, "third.yaml"), filepath.Join(dir, "topic.yaml")
	const third = `{"connector":{"kind":"http","config":{"url":"http://127.0.0.1:1/x","allow_cidrs":["127.0.0.0/8"]}}}`
	rates := map[string]string{
		"in_per_second":  "the command looks twice, a request once",
		"out_per_second": "the command looks twice, a request once",
		"published":      "the command looks later",
	}
	return []operation{
		{id: "get-entity-everywhere", command: "get", args: []string{"k"}, method: "GET", path: "/v1/entities/k"},
		{id: "get-entity-everywhere", command: "get", args: []string{"k", "--timeline"}, method: "GET", path: "/v1/entities/k?timeline=10"},
		{id: "get-entity", command: "get", args: []string{"erp", "k"}, method: "GET", path: "/v1/channels/erp/entities/k", within: "channels"},
		{id: "wait-for-entity", command: "wait", args: []string{"erp", "k@1"}, method: "GET", path: "/v1/channels/erp/entities/k/outcome?version=1"},
		{id: "get-status", command: "status", args: []string{"--interval", "200ms"}, method: "GET", path: "/v1/status", except: rates},
		{id: "get-channel-status", command: "status", args: []string{"erp", "--interval", "200ms"}, method: "GET", path: "/v1/channels/erp/status", within: "channels", except: rates},
		{id: "get-workers", command: "workers", method: "GET", path: "/v1/workers"},
		{id: "examine", command: "doctor", method: "GET", path: "/v1/doctor", except: map[string]string{"findings": "only the command connects to targets"}},
		{id: "probe-channel", command: "channels probe", args: []string{"portal"}, method: "POST", path: "/v1/channels/portal/probe"},
		{id: "list-channels", command: "channels list", method: "GET", path: "/v1/channels"},
		{id: "get-channel", command: "channels show", args: []string{"erp"}, method: "GET", path: "/v1/channels/erp"},
		{id: "put-channel", command: "channels plan", args: []string{"-f", file}, method: "PUT", path: "/v1/channels/third?dry_run=true", body: third, within: "channels"},
		{id: "put-channel", command: "channels apply", args: []string{"-f", file, "--dry-run"}, method: "PUT", path: "/v1/channels/third?dry_run=true", body: third, within: "channels"},
		{id: "wait-for-topic-entity", command: "wait", args: []string{"--topic", "policies", "k@2"}, method: "GET", path: "/v1/topics/policies/entities/k/outcome?version=2"},
		{id: "list-topics", command: "topics list", method: "GET", path: "/v1/topics"},
		{id: "get-topic", command: "topics show", args: []string{"policies"}, method: "GET", path: "/v1/topics/policies"},
		{id: "put-topic", command: "topics apply", args: []string{"-f", topic, "--dry-run"}, method: "PUT", path: "/v1/topics/third?dry_run=true", body: "{}", within: "topics"},
		{id: "delete-topic", command: "topics delete", args: []string{"spare", "--yes"}, method: "DELETE", path: "/v1/topics/unread?confirm=unread", except: map[string]string{"name": "each deletes another one"}},
		{id: "pause-channel", command: "channels pause", args: []string{"portal"}, method: "PUT", path: "/v1/channels/portal/pause"},
		{id: "resume-channel", command: "channels resume", args: []string{"portal"}, method: "PUT", path: "/v1/channels/portal/resume"},
		{id: "reload-channel", command: "channels reload", args: []string{"portal"}, method: "PUT", path: "/v1/channels/portal/reload"},
		{id: "start-resync", command: "resync", args: []string{"erp", "--dry-run"}, method: "POST", path: "/v1/channels/erp/resync?dry_run=true", body: "{}"},
		{id: "get-resync", command: "resync", args: []string{"erp", "--key", "k"}, method: "GET", path: "/v1/channels/erp/resync"},
		{id: "list-connector-kinds", command: "kinds", method: "GET", path: "/v1/connector-kinds"},
		{id: "list-entities", command: "entities", args: []string{"erp"}, method: "GET", path: "/v1/channels/erp/entities"},
		{id: "list-entities-everywhere", command: "entities", args: []string{"--health", "dead", "--limit", "3"}, method: "GET", path: "/v1/entities?health=dead&limit=3"},
		{id: "list-dead-letters", command: "dead list", method: "GET", path: "/v1/dead-letters"},
		{id: "group-dead-letters", command: "dead groups", method: "GET", path: "/v1/dead-letters/groups"},
		{id: "get-dead-letter", command: "dead show", args: []string{"1"}, method: "GET", path: "/v1/dead-letters/1"},
		{id: "get-dead-letter-payload", command: "dead show", args: []string{"1", "--payload"}, method: "GET", path: "/v1/dead-letters/1/payload"},
		{id: "discard-dead-letter", command: "dead discard", args: []string{"1"}, method: "DELETE", path: "/v1/dead-letters/2", within: "letters"},
		{id: "replay-dead-letter", command: "dead replay", args: []string{"3"}, method: "POST", path: "/v1/dead-letters/4/replay", within: "letters"},
		{id: "start-job", command: "dead replay", args: []string{"--channel", "erp", "--dry-run"}, method: "POST", path: "/v1/jobs", body: `{"action":"replay","letters":{"channel":"erp"},"dry_run":true}`},
		{id: "start-job", command: "dead discard", args: []string{"--channel", "erp", "--state", "any", "--dry-run"}, method: "POST", path: "/v1/jobs", body: `{"action":"discard","letters":{"channel":"erp","state":"any"},"dry_run":true}`},
		{id: "start-job", command: "resync", args: []string{"erp", "--health", "ok", "--sync", "in_sync", "--dry-run"}, method: "POST", path: "/v1/jobs", body: `{"action":"resync","entities":{"channel":"erp","sync":["in_sync"],"health":["ok"]},"dry_run":true}`},
		{id: "list-jobs", command: "jobs list", method: "GET", path: "/v1/jobs"},
		{id: "delete-channel", command: "channels delete", args: []string{"portal", "--yes"}, method: "DELETE", path: "/v1/channels/other?confirm=other"},
		{id: "restore-channel", command: "channels restore", args: []string{"portal"}, method: "PUT", path: "/v1/channels/other/restore", except: map[string]string{"name": "each brings back another one"}},
	}
}

// onlyCommands have no twin in the HTTP API.
func onlyCommands() map[string]string {
	return map[string]string{
		"audit":           "opens the target, with its secrets, where it runs",
		"audit-log":       "shows what was there before and after, too; list-activity and get-activity are its twins",
		"broker-config":   "writes a file, and connects to nothing",
		"channels clone":  "GET, then PUT under another name",
		"channels edit":   "GET, then PUT with If-Match: the editor is on this machine",
		"channels schema": "/openapi.json and /v1/connector-kinds have it",
		"channels test":   "may send, and reads secrets where it runs; test-channel does neither",
		"connector test":  "runs a program on this machine",
		"console":         "serves the console itself",
		"context add":     "is about this machine: which broker to connect to",
		"context list":    "is about this machine: which broker to connect to",
		"context remove":  "is about this machine: which broker to connect to",
		"context show":    "is about this machine: which broker to connect to",
		"context use":     "is about this machine: which broker to connect to",
		"demo":            "runs everything itself",
		"dev":             "runs everything itself",
		"health":          "asks a running process from beside it",
		"import":          "publishes a file and keeps its place in it; publish-batch is its twin, a result a line, and wait-for-entity tells the outcomes",
		"jobs show":       "needs a job; get-job is its twin",
		"jobs stop":       "needs a job that runs; stop-job is its twin",
		"key give-up":     "needs an update that is being retried; give-up-entity is its twin",
		"key ref reset":   "is for whoever may reset the order of a key by hand",
		"key ref set":     "is for whoever may reset the order of a key by hand",
		"key ref show":    "get shows the refs",
		"key reset":       "asks for --yes, and reset-entity for the key; it is its twin",
		"outbox ddl":      "prints a text that is the same everywhere",
		"outbox status":   "reads the platform's database, which the HTTP API does not know",
		"push":            "publishes by the broker's contract; publish-update answers with HTTP's own statuses",
		"recover":         "is done while no publisher runs",
		"services add":    "is for services that speak NATS",
		"tail":            "follows the log at the broker until it is interrupted",
		"tokens create":   "needs the administrators' key",
		"tokens key":      "needs the administrators' key",
		"tokens list":     "needs the administrators' key, to tell which records count; list-tokens is its twin",
		"tokens revoke":   "needs the administrators' key",
		"version":         "is about this program",
	}
}

// onlyHTTP have no twin among the commands.
func onlyHTTP() map[string]string {
	return map[string]string{
		"publish-update":         "push",
		"publish-to-channels":    "push, once for each channel",
		"publish-batch":          "import",
		"test-channel":           "channels test",
		"get-topic-entity":       "get shows the topics that hold the key",
		"publish-to-topic":       "push --topic",
		"publish-batch-to-topic": "import --topic",
		"follow-acks":            "commands wait for the outcome themselves",
		"pause-resync":           "resync --pause, which needs a resync that is under way for each",
		"resume-resync":          "resync --resume",
		"stop-resync":            "resync --stop",
		"get-job":                "jobs show, which needs a job",
		"stop-job":               "jobs stop, which needs a job that runs",
		"get-overview":           "status, in short and with the rates of a process that looks again and again",
		"follow-events":          "status, asked again and again",
		"search":                 "get, entities --key-prefix and channels list, in one answer for a field that somebody types into",
		"list-activity":          "audit-log",
		"get-activity":           "audit-log --json",
		"get-channel-history":    "audit-log --json has the configurations of all channels",
		"get-channel-schema":     "channels schema, with the kinds in it",
		"dry-run-channel":        "channels plan has what would change; this also runs the draft over updates, for whoever edits in a form",
		"get-payload":            "the platform has the content; get --read-back shows it beside what the target holds",
		"read-back-entity":       "get --read-back, which needs a worker that has the key",
		"reset-entity":           "key reset",
		"give-up-entity":         "key give-up",
		"get-session":            "is about logins of browsers",
		"log-in":                 "is about logins of browsers",
		"log-out":                "is about logins of browsers",
		"start-oidc-login":       "is about logins of browsers",
		"finish-oidc-login":      "is about logins of browsers",
		"list-sessions":          "is about logins of browsers",
		"end-session":            "is about logins of browsers",
		"list-tokens":            "tokens list, which needs the administrators' key",
		"health":                 "is about the process",
		"readiness":              "is about the process",
		"openapi":                "is about HTTP",
		"docs":                   "is about HTTP",
		"metrics":                "is about the process",
	}
}

// site is a broker with a worker, a target and the API.
type site struct {
	t   *testing.T
	cfg config.Config
	url string
}

func newSite(t *testing.T) *site {
	t.Helper()
	b := &site{t: t, cfg: config.Default()}
	b.cfg.NATS.URL = natstest.Run(t, natstest.Options{TCP: true}).URL()
	b.cfg.HTTP.Listen = "127.0.0.1:0"
	b.cfg.Allow.Networks = connectors.List{"127.0.0.0/8"}
	client, err := operate.Connect(t.Context(), b.cfg, zerolog.Nop())
	testkit.Must(t, err)
	t.Cleanup(client.Close)
	testkit.Must(t, client.Provision(t.Context()))
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 2)
	ready := make(chan string, 1)
	go func() {
		ended <- app.Serve(ctx, client, app.PublisherOptions{Config: b.cfg, Logger: zerolog.Nop(), Ready: func(url string) { ready <- url }})
	}()
	go func() { ended <- app.Deliver(ctx, client, app.WorkerOptions{Config: b.cfg, Logger: zerolog.Nop()}) }()
	t.Cleanup(func() {
		cancel()
		for range cap(ended) {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
	})
	b.url = <-ready
	return b
}

// command runs a command and returns what it writes with --json.
func (b *site) command(args ...string) (string, error) {
	var out, errs bytes.Buffer
	sh := &cli.Shell{In: strings.NewReader(""), Out: &out, Err: &errs, Environ: []string{"EXTSYNC_NATS_URL=" + b.cfg.NATS.URL, "EXTSYNC_ALLOW_NETWORKS=127.0.0.0/8"}}
	code := sh.Run(b.t.Context(), root(sh), append(args, "--json"))
	if code != cli.ExitOK && code != cli.ExitFound {
		return "", fmt.Errorf("%s: exit code %d: %s", strings.Join(args, " "), code, errs.String())
	}
	return out.String(), nil
}

func (b *site) ask(method, path, body string) (string, error) {
	req, err := http.NewRequestWithContext(b.t.Context(), method, b.url+path, strings.NewReader(body))
	if err != nil {
		return "", err
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode > 299 {
		err = fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, data)
	}
	return string(data), err
}

// A command and the HTTP API must not drift apart: what both do, both show as the same JSON.
func TestCommandsAndHTTPShowTheSame(t *testing.T) {
	b := newSite(t)
	var healed atomic.Bool
	target := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if data, _ := io.ReadAll(r.Body); !healed.Load() && strings.Contains(string(data), "bad") {
			w.WriteHeader(http.StatusUnprocessableEntity)
		}
	}))
	t.Cleanup(target.Close)
	dir := t.TempDir()
	channel := func(name, url string) string {
		return fmt.Sprintf("  - {name: %s, connector: {kind: http, config: {url: %q, allow_cidrs: [127.0.0.0/8]}}}\n", name, url)
	}
	write := func(name, text string) string {
		file := filepath.Join(dir, name)
		testkit.Must(t, os.WriteFile(file, []byte("channels:\n"+text), 0o600))
		return file
	}
	testkit.Must(t, os.WriteFile(filepath.Join(dir, "topic.yaml"), []byte("topics: [{name: third}]\n"), 0o600))
	write("third.yaml", channel("third", "http://127.0.0.1:1/x"))
	must := func(args ...string) {
		t.Helper()
		_, err := b.command(args...)
		testkit.Must(t, err)
	}
	topics := write("topics.yaml", strings.Replace(channel("reader", target.URL), "connector:", "from: {topic: policies}, connector:", 1)+"topics: [{name: policies}, {name: spare}, {name: unread}]\n")
	must("channels", "apply", "-f", topics)
	must("channels", "apply", "-f", write("channels.yaml", channel("erp", target.URL)+channel("portal", target.URL)+channel("other", target.URL)))
	testkit.Eventually(t, "a worker for every channel", func() bool {
		out, err := b.command("status", "--interval", "200ms")
		return err == nil && strings.Count(out, `"workers": []`) == 0 && strings.Count(out, `"reasons": []`) == 4
	})
	must("push", "erp", "k", "1", "--data", `{"a":1}`, "--wait", "30s")
	must("push", "--topic", "policies", "k", "2", "--data", `{"a":1}`, "--wait", "30s")
	for i := range 4 {
		_, err := b.command("push", "erp", fmt.Sprint("bad", i), "1", "--data", `{"a":"bad"}`, "--wait", "30s")
		if err == nil {
			t.Fatal("what the target refuses was delivered")
		}
	}
	testkit.Eventually(t, "four open letters", func() bool {
		out, err := b.command("dead", "list")
		return err == nil && strings.Count(out, `"sequence"`) == 4
	})
	testkit.Eventually(t, "a worker that announces every channel", func() bool {
		out, err := b.command("workers")
		return err == nil && strings.Contains(out, `"channels": 4`)
	})
	for _, op := range operations(dir) {
		t.Run(op.id, func(t *testing.T) {
			switch op.id {
			case "replay-dead-letter":
				healed.Store(true)
			case "start-job": // those that were replayed one by one are on their way out
				testkit.Eventually(t, "no open letters", func() bool {
					out, err := b.command("dead", "list")
					return err == nil && !strings.Contains(out, `"sequence"`)
				})
			}
			said, err := b.command(append(strings.Fields(op.command), op.args...)...)
			testkit.Must(t, err)
			answered, err := b.ask(op.method, op.path, op.body)
			testkit.Must(t, err)
			var command, answer any
			testkit.Must(t, json.Unmarshal([]byte(said), &command))
			testkit.Must(t, json.Unmarshal([]byte(answered), &answer))
			if op.within != "" {
				list, _ := command.(map[string]any)[op.within].([]any)
				if len(list) != 1 {
					t.Fatalf("the command does not have one of %s:\n%s", op.within, said)
				}
				command = list[0]
			}
			compare(t, op, "", command, answer)
			if t.Failed() {
				t.Logf("the command: %s\nHTTP: %s", said, answered)
			}
		})
	}
}

// compare compares two documents by their fields. Of times, and of numbers and texts that
// differ from one act to the next, only the kind must be the same.
func compare(t *testing.T, op operation, at string, command, answer any) {
	t.Helper()
	switch c := command.(type) {
	case map[string]any:
		a, ok := answer.(map[string]any)
		if !ok {
			t.Errorf("%s: an object for the command, %T for HTTP", at, answer)
			return
		}
		for name := range merged(c, a) {
			field := strings.TrimPrefix(at+"."+name, ".")
			cv, inCommand := c[name]
			av, inAnswer := a[name]
			switch {
			case op.except[name] != "" || isMoment(cv) || isMoment(av):
			case !inCommand || !inAnswer:
				t.Errorf("%s: with the command %t, with HTTP %t", field, inCommand, inAnswer)
			case passing(name) && reflect.TypeOf(cv) == reflect.TypeOf(av):
			default:
				compare(t, op, field, cv, av)
			}
		}
	case []any:
		a, ok := answer.([]any)
		if !ok || len(a) != len(c) {
			t.Errorf("%s: %d for the command, %v for HTTP", at, len(c), answer)
			return
		}
		for i := range c {
			compare(t, op, fmt.Sprintf("%s[%d]", at, i), c[i], a[i])
		}
	default:
		if !reflect.DeepEqual(command, answer) {
			t.Errorf("%s: %v for the command, %v for HTTP", at, command, answer)
		}
	}
}

func merged(a, b map[string]any) map[string]any {
	out := maps.Clone(a)
	maps.Copy(out, b)
	return out
}

// isMoment reports whether a value is a time. One may be zero, and left out, a moment later.
func isMoment(v any) bool {
	text, ok := v.(string)
	if !ok {
		return false
	}
	_, err := time.Parse(time.RFC3339Nano, text)
	return err == nil
}

// passing are fields that say something of the moment, or are another thing for each act.
func passing(name string) bool {
	return slices.Contains([]string{
		"revision", "letter", "channel", "last_beat_age_seconds", "oldest_seconds", "bytes", "ledger_bytes", "bad",
	}, name)
}

// There is nothing that only commands or only HTTP can do, but for what is listed with a
// reason.
func TestEveryOperationIsInBoth(t *testing.T) {
	b := newSite(t)
	paired, ids := map[string]bool{}, map[string]bool{}
	for _, op := range operations(t.TempDir()) {
		paired[op.command], ids[op.id] = true, true
	}
	sh := &cli.Shell{}
	var walk func(cmd *cobra.Command, path string)
	seen := map[string]bool{}
	walk = func(cmd *cobra.Command, path string) {
		for _, sub := range cmd.Commands() {
			walk(sub, strings.TrimSpace(path+" "+sub.Name()))
		}
		if cmd.HasSubCommands() || path == "" {
			return
		}
		seen[path] = true
		if !paired[path] && onlyCommands()[path] == "" {
			t.Errorf("the command %q has no twin in the HTTP API, and no reason is given", path)
		}
	}
	walk(root(sh), "")
	for path := range merge(paired, onlyCommands()) {
		if !seen[path] {
			t.Errorf("there is no command %q", path)
		}
	}
	text, err := b.ask(http.MethodGet, "/openapi.json", "")
	testkit.Must(t, err)
	var doc struct {
		Paths map[string]map[string]struct {
			ID string `json:"operationId"`
		}
	}
	testkit.Must(t, json.Unmarshal([]byte(text), &doc))
	described := map[string]bool{}
	for path, item := range doc.Paths {
		for method, op := range item {
			described[op.ID] = true
			if !ids[op.ID] && onlyHTTP()[op.ID] == "" {
				t.Errorf("%s %s (%s) has no command, and no reason is given", method, path, op.ID)
			}
		}
	}
	for id := range merge(ids, onlyHTTP()) {
		if !described[id] {
			t.Errorf("the HTTP API has no %q", id)
		}
	}
}

func merge(a map[string]bool, b map[string]string) map[string]bool {
	out := maps.Clone(a)
	for name := range b {
		out[name] = true
	}
	return out
}
