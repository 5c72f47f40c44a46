package integration

import (
	"debug/buildinfo"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hms-utl/extsync/internal/cli"
	"github.com/hms-utl/extsync/internal/natsserver/natstest"
)

// nobody is an address at which nothing listens.
const nobody = "nats://127.0.0.1:1"

// refused runs a program and checks that it fails as people and scripts may
// expect: the right code, nothing on standard output, one line that says what
// happened (and one for each thing that is wrong with a configuration) and one that says
// what to do, and nothing that looks like a crash. With --json it is one document.
func refused(t *testing.T, p program, code int, says ...string) ended {
	t.Helper()
	e := p.run(t)
	if e.code != code {
		t.Errorf("exit code %d, want %d", e.code, code)
	}
	if e.out != "" {
		t.Errorf("standard output is not empty:\n%s", e.out)
	}
	if slices.Contains(p.args, "--json") {
		var doc struct {
			Error struct{ Message, Hint string }
		}
		decodeJSON(t, e.err, &doc)
		e.err = "error: " + doc.Error.Message + "\nhint: " + doc.Error.Hint + "\n"
	}
	lines := strings.Split(strings.TrimSuffix(e.err, "\n"), "\n")
	last := len(lines) - 1
	if last < 1 || !strings.HasPrefix(lines[0], "error: ") || !strings.HasPrefix(lines[last], "hint: ") {
		t.Errorf("standard error does not begin with an error and end with a hint:\n%s", e.err)
	}
	for _, line := range lines[1:max(1, last)] { // one for each thing that is wrong with a configuration
		if !strings.HasPrefix(line, "  ") || !strings.HasPrefix(lines[0], "error: invalid configuration") {
			t.Errorf("standard error has more than one line each of error and hint:\n%s", e.err)
		}
	}
	for _, word := range []string{"goroutine", "panic", "Usage:", "\x1b", "runtime error", ".go:"} {
		if strings.Contains(e.err, word) {
			t.Errorf("standard error contains %q:\n%s", word, e.err)
		}
	}
	for _, want := range says {
		if !strings.Contains(e.err, want) {
			t.Errorf("standard error does not say %q:\n%s", want, e.err)
		}
	}
	return e
}

func TestWithoutBroker(t *testing.T) {
	tests := map[string]program{
		"push":              extsync("push", "erp_db", "k", "7", "--data", "{}"),
		"push of a service": {name: "publisher", args: []string{"push", "erp_db", "k", "7", "--data", "{}"}},
		"get":               extsync("get", "k"),
		"channels list":     extsync("channels", "list"),
		"channels show":     extsync("channels", "show", "erp_db"),
	}
	for name, p := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p.env = []string{"EXTSYNC_NATS_URL=" + nobody}
			refused(t, p, cli.ExitBroker, "127.0.0.1:1", "--nats-url", "EXTSYNC_NATS_URL")
		})
	}
}

func TestWrongURL(t *testing.T) {
	tests := map[string]struct {
		url, says string
		code      int
	}{
		"no such host":   {"nats://no-such-host.invalid:4222", "no-such-host.invalid", cli.ExitBroker},
		"not an address": {"http://127.0.0.1:4222", "nats", cli.ExitUsage},
		"secret inside":  {"nats://user:hunter2%@127.0.0.1:1", "url", cli.ExitUsage},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := refused(t, extsync("get", "k", "--nats-url", tt.url), tt.code, tt.says)
			if strings.Contains(e.err, "hunter2") {
				t.Errorf("a password is shown: %s", e.err)
			}
		})
	}
}

func TestBrokerIsNotProvisioned(t *testing.T) {
	t.Parallel()
	broker := natstest.Run(t, natstest.Options{TCP: true})
	for name, args := range map[string][]string{
		"push": {"push", "erp_db", "k", "7", "--data", "{}"},
		"get":  {"get", "k"},
		"list": {"channels", "list"},
	} {
		t.Run(name, func(t *testing.T) {
			p := extsync(args...)
			p.env = []string{"EXTSYNC_NATS_URL=" + broker.URL()}
			refused(t, p, cli.ExitBroker, "not provisioned", "channels apply")
		})
	}
}

// All of these are found without a broker.
func TestMalformedUpdate(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		args []string
		in   string
		says string
	}{
		"version":           {args: []string{"erp_db", "k", "seven", "--data", "{}"}, says: `"seven"`},
		"version zero":      {args: []string{"erp_db", "k", "0", "--data", "{}"}, says: "version"},
		"key":               {args: []string{"erp_db", "", "7", "--data", "{}"}, says: "key"},
		"channel":           {args: []string{"ERP.DB", "k", "7", "--data", "{}"}, says: "ERP.DB"},
		"op":                {args: []string{"erp_db", "k", "7", "--op", "remove"}, says: "remove"},
		"base":              {args: []string{"erp_db", "k", "7", "--data", "{}", "--base", "x"}, says: "--base"},
		"base of no kind":   {args: []string{"erp_db", "k", "7", "--data", "{}", "--base", "2024-05-01T12:00:00Z"}, says: "base"},
		"payload":           {args: []string{"erp_db", "k", "7", "--data", "{"}, says: "JSON"},
		"payload from file": {args: []string{"erp_db", "k", "7", "--data", "-"}, in: `{"a":`, says: "JSON"},
		"no payload":        {args: []string{"erp_db", "k", "7"}, says: "--data"},
		"no such file":      {args: []string{"erp_db", "k", "7", "--data", "@/no/such/file"}, says: "/no/such/file"},
		"content type":      {args: []string{"erp_db", "k", "7", "--data", "x", "--content-type", "x y"}, says: "content type"},
		"wait":              {args: []string{"erp_db", "k", "7", "--data", "{}", "--wait", "-1s"}, says: "--wait"},
		"too few arguments": {args: []string{"erp_db", "k"}, says: "push --help"},
		"unknown flag":      {args: []string{"erp_db", "k", "7", "--payload", "{}"}, says: "--payload"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := extsync(append([]string{"push", "--nats-url", nobody}, tt.args...)...)
			p.in = tt.in
			refused(t, p, cli.ExitUsage, tt.says)
		})
	}
}

func TestBadConfiguration(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	settings := write("settings.yaml", "nast: {url: x}\nprefix: Not.One\n")
	list := write("channels.yaml", `
channels:
  - {name: One, mode: some, partitions: 65, connector: {kind: fax}}
  - {name: two, connector: {kind: sql, config: {dialect: oracle, table: t}}}
`)
	tests := map[string]struct {
		p    program
		says []string
	}{
		"file":             {extsync("get", "k", "--config", settings), []string{settings, "nast", "prefix"}},
		"no file":          {extsync("get", "k", "--config", "/no/such.yaml"), []string{"/no/such.yaml"}},
		"variable":         {program{name: "extsync", args: []string{"get", "k"}, env: []string{"EXTSYNC_NATS_ULR=x"}}, []string{"EXTSYNC_NATS_ULR"}},
		"value":            {program{name: "connector-worker", args: []string{"run", "--worker-lease-ttl=1s"}}, []string{"--worker-lease-ttl"}},
		"channels":         {extsync("channels", "apply", "-f", list), []string{"One", "mode", "partitions", "fax", "channels[1]", "dialect", "dsn"}},
		"unknown field":    {extsync("channels", "apply", "-f", write("a.yaml", "channels: [{name: a, conector: {}}]")), []string{"conector"}},
		"no channels":      {extsync("channels", "apply", "-f", write("b.yaml", "")), []string{"channels"}},
		"no channels file": {extsync("channels", "apply", "-f", "/no/such.yaml"), []string{"/no/such.yaml"}},
		"no file named":    {extsync("channels", "apply"), []string{"-f"}},
		"open listener":    {extsync("dev", "--listen", "0.0.0.0:0", "--data-dir", dir), []string{"loopback"}},
		"unknown command":  {extsync("chanels"), []string{"chanels"}},
		"unknown below":    {extsync("channels", "aply"), []string{"aply"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			refused(t, tt.p, cli.ExitUsage, tt.says...)
		})
	}
}

// The services must not carry a broker with them.
func TestServicesDoNotLinkTheServer(t *testing.T) {
	for name, want := range map[string]bool{"extsync": true, "publisher": false, "connector-worker": false} {
		info, err := buildinfo.ReadFile(binary(t, name))
		if err != nil {
			t.Fatal(err)
		}
		got := false
		for _, dep := range info.Deps {
			got = got || strings.HasPrefix(dep.Path, "github.com/nats-io/nats-server/")
		}
		if got != want {
			t.Errorf("%s has nats-server linked: %v, want %v", name, got, want)
		}
	}
}

func TestHelpDocumentsVariablesAndExitCodes(t *testing.T) {
	if help := extsync("--help").ok(t); !strings.Contains(help, cli.ExitCodes) {
		t.Error("extsync --help does not list the exit codes")
	}
	for _, p := range []program{
		extsync("push", "--help"), extsync("get", "--help"), extsync("channels", "apply", "--help"),
		{name: "publisher", args: []string{"push", "--help"}},
		{name: "connector-worker", args: []string{"run", "--help"}},
	} {
		help := p.ok(t)
		for _, want := range []string{"EXTSYNC_NATS_URL", "EXTSYNC_NATS_CREDS_FILE", "EXTSYNC_PREFIX", "EXTSYNC_LOG_LEVEL", "EXTSYNC_CONFIG"} {
			if !strings.Contains(help, want) {
				t.Errorf("%s %q does not name %s", p.name, p.args, want)
			}
		}
	}
}
