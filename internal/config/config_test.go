package config

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"github.com/hms-utl/extsync/pkg/connectors"
)

// load runs a loader the way a command does.
func load(t *testing.T, file string, env, args []string) (Config, error) {
	t.Helper()
	l := NewLoader()
	fs := pflag.NewFlagSet("test", pflag.ContinueOnError)
	l.Declare(fs, GroupCommon, GroupNATS, GroupStorage, GroupEmbedded, GroupTelemetry, GroupWorker)
	if file != "" {
		args = append(args, "--config", write(t, file))
	}
	if err := fs.Parse(args); err != nil {
		t.Fatal(err)
	}
	return l.Load(env)
}

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "extsync.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestPrecedence(t *testing.T) {
	const file = "prefix: fromfile\nworker: {drain_timeout: 7s}\n"
	env := []string{"EXTSYNC_PREFIX=fromenv", "EXTSYNC_LOG_LEVEL=warn", "PATH=/bin"}
	tests := map[string]struct {
		file      string
		env, args []string
		prefix    string
	}{
		"default":                 {prefix: "sync"},
		"file over default":       {file: file, prefix: "fromfile"},
		"variable over file":      {file: file, env: env, prefix: "fromenv"},
		"flag over variable":      {file: file, env: env, args: []string{"--prefix=fromflag"}, prefix: "fromflag"},
		"empty variable is unset": {file: file, env: []string{"EXTSYNC_PREFIX="}, prefix: "fromfile"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c, err := load(t, tt.file, tt.env, tt.args)
			if err != nil {
				t.Fatal(err)
			}
			if c.Prefix != tt.prefix {
				t.Errorf("prefix = %q, want %q", c.Prefix, tt.prefix)
			}
			if tt.file != "" && c.Worker.DrainTimeout.D() != 7*time.Second {
				t.Errorf("what only the file says is lost: %v", c.Worker.DrainTimeout.D())
			}
		})
	}
}

func TestFileByVariable(t *testing.T) {
	env := []string{"EXTSYNC_CONFIG=" + write(t, "prefix: one\n")}
	if c, err := load(t, "", env, nil); err != nil || c.Prefix != "one" {
		t.Errorf("prefix = %q, error %v", c.Prefix, err)
	}
	if c, err := load(t, "prefix: two\n", env, nil); err != nil || c.Prefix != "two" {
		t.Errorf("--config does not win: prefix = %q, error %v", c.Prefix, err)
	}
}

// sample returns a value that a setting may have and that is not its default.
func sample(s setting) string {
	switch s.kind {
	case "1|3|5", "1..64":
		return "3"
	case "size":
		return "3GiB"
	case "duration":
		return "12h" // set does not look at ranges
	case "directories":
		return "/srv/a,/srv/b"
	case "networks":
		return "10.20.0.0/16,fd12::/16"
	case "names":
		return "ERP_*,TOKEN"
	case "yaml":
		if s.path == "http.oidc.groups" {
			return "{operators: {scopes: [read, operate], channels: [erp]}}"
		}
		return "{erp: {env: [ERP_*], networks: []}}"
	}
	return map[string]string{
		"nats.url": "tls://broker.example.org:4443", "nats.inbox_prefix": "_INBOX_worker", "prefix": "other",
		"log.level": "debug", "log.format": FormatJSON, "storage.durability": DurabilityPower,
	}[s.path]
}

// Every setting must mean the same in all three sources.
func TestSourcesAgree(t *testing.T) {
	for _, s := range settings() {
		t.Run(s.path, func(t *testing.T) {
			want := Default()
			text := sample(s)
			if text == "" {
				text = "some-" + s.kind
			}
			if err := s.set(&want, text); err != nil {
				t.Fatal(err)
			}
			if reflect.DeepEqual(want, Default()) {
				t.Fatalf("%q is the default; the test needs another value", text)
			}
			var yaml strings.Builder
			parts := strings.Split(s.path, ".")
			for i, part := range parts {
				yaml.WriteString(strings.Repeat("  ", i) + part + ":")
				if i < len(parts)-1 {
					yaml.WriteString("\n")
				}
			}
			yaml.WriteString(" " + text + "\n")

			decoded := Default()
			if err := connectors.DecodeStrict([]byte(yaml.String()), &decoded); err != nil {
				t.Fatalf("file: %v", err)
			}
			l := NewLoader()
			fs := pflag.NewFlagSet("test", pflag.ContinueOnError)
			l.Declare(fs, s.group)
			if f := fs.Lookup(s.flag()); f == nil || !strings.Contains(f.Usage, "[$"+s.env()+"]") {
				t.Fatalf("flag --%s does not tell of %s", s.flag(), s.env())
			}
			if err := fs.Parse([]string{"--" + s.flag(), text}); err != nil {
				t.Fatal(err)
			}
			flagged := Default()
			if err := s.set(&flagged, l.flags[s.path].text); err != nil {
				t.Fatal(err)
			}
			for source, got := range map[string]Config{"file": decoded, "flag": flagged} {
				if !reflect.DeepEqual(got, want) {
					t.Errorf("%s gives %+v, variable %+v", source, got, want)
				}
			}
		})
	}
}

func TestEverythingWrongIsNamedAtOnce(t *testing.T) {
	const file = "nast: {url: x}\nlog: {level: loud}\nstorage: {replicas: 2}\n"
	env := []string{"EXTSYNC_WORKER_LEASE_TTL=soon", "EXTSYNC_NATS_ULR=nats://x:4222", "EXTSYNC_STORAGE_DEAD_BYTES=12", "EXTSYNC_PREFIX=Not.One"}
	_, err := load(t, file, env, []string{"--log-format=xml", "--storage-durability=forever"})
	if !errors.Is(err, connectors.ErrConfig) {
		t.Fatalf("error = %v, want ErrConfig", err)
	}
	for _, want := range []string{
		"nast", "log.level", "storage.replicas", "EXTSYNC_WORKER_LEASE_TTL", "EXTSYNC_NATS_ULR", "EXTSYNC_STORAGE_DEAD_BYTES",
		"prefix (EXTSYNC_PREFIX)", "log.format (--log-format)", "storage.durability (--storage-durability)",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not name %s:\n%v", want, err)
		}
	}
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("the error has more than one line:\n%v", err)
	}
}

func TestRefused(t *testing.T) {
	tests := map[string]struct {
		file string
		args []string
		want string
	}{
		"unknown field below":   {file: "nats: {urls: x}", want: "urls"},
		"field given twice":     {file: "prefix: a\nprefix: b\n", want: "prefix"},
		"two documents":         {file: "prefix: a\n---\nprefix: b\n", want: "more than one document"},
		"not YAML":              {file: "a: [", want: "neither YAML nor JSON"},
		"no such file":          {args: []string{"--config=/no/such/file.yaml"}, want: "/no/such/file.yaml"},
		"empty address":         {args: []string{"--nats-url="}, want: "url"},
		"two credentials":       {file: "nats: {creds_file: a, nkey_seed_file: b}", want: "nkey_seed_file"},
		"no drain":              {file: "worker: {drain_timeout: 0s}", want: "worker.drain_timeout"},
		"lease too short":       {args: []string{"--worker-lease-ttl=1s"}, want: "worker.lease_ttl"},
		"lease too long":        {args: []string{"--worker-lease-ttl=31s"}, want: "worker.lease_ttl"},
		"outcomes for a moment": {args: []string{"--storage-outcome-max-age=1m"}, want: "storage.outcome_max_age"},
		"stalled at once":       {args: []string{"--worker-stall-after=1ms"}, want: "worker.stall_after"},
		"no port":               {args: []string{"--telemetry-listen=127.0.0.1"}, want: "telemetry.listen"},
		"port too high":         {args: []string{"--telemetry-listen=:99999"}, want: "telemetry.listen"},
		"profiles for all":      {args: []string{"--telemetry-pprof=:6060"}, want: "telemetry.pprof"},
		"profiles for others":   {args: []string{"--telemetry-pprof=192.0.2.1:6060"}, want: "loopback"},
		"profiles by name":      {args: []string{"--telemetry-pprof=example.org:6060"}, want: "loopback"},
		"replicas not a number": {args: []string{"--storage-replicas=many"}, want: "--storage-replicas"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := load(t, tt.file, nil, tt.args)
			if !errors.Is(err, connectors.ErrConfig) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error = %v, want ErrConfig that names %s", err, tt.want)
			}
		})
	}
}

// A service of the name extsync makes Kubernetes set these in every container.
func TestServiceLinksOfKubernetesAreNoMistake(t *testing.T) {
	_, err := load(t, "", []string{
		"EXTSYNC_SERVICE_HOST=10.0.0.1", "EXTSYNC_SERVICE_PORT=8080", "EXTSYNC_SERVICE_PORT_HTTP=8080", "EXTSYNC_PORT=tcp://10.0.0.1:8080",
		"EXTSYNC_PORT_8080_TCP=tcp://10.0.0.1:8080", "EXTSYNC_PUBLISHER_PORT_8080_TCP_ADDR=10.0.0.1",
	}, nil)
	if err != nil {
		t.Error(err)
	}
}

func TestNoSecretInErrors(t *testing.T) {
	_, err := load(t, "", []string{"EXTSYNC_NATS_URL=nats://user:s3cr%zzt@host:4222"}, nil)
	if err == nil {
		t.Fatal("an unreadable URL was taken")
	}
	if strings.Contains(err.Error(), "s3cr") || strings.Contains(err.Error(), "user") {
		t.Errorf("the error shows a credential: %v", err)
	}
}

func TestDefaultIsValid(t *testing.T) {
	c := Default()
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
	if _, err := c.Names(); err != nil {
		t.Error(err)
	}
}

// The file that people copy from says what the defaults are.
func TestExampleFileHoldsTheDefaults(t *testing.T) {
	l := NewLoader()
	c, err := l.Load([]string{"EXTSYNC_CONFIG=" + filepath.Join("..", "..", "examples", "extsync.yaml")})
	if err != nil {
		t.Fatal(err)
	}
	c.File = ""
	if !reflect.DeepEqual(c, Default()) {
		t.Errorf("example %+v\ndefault %+v", c, Default())
	}
}

// An empty variable left the default, which lets channels have more than nothing.
func TestEmptyAllowVariableAllowsNothing(t *testing.T) {
	c, err := NewLoader().Load([]string{"EXTSYNC_ALLOW_ENV=", "EXTSYNC_ALLOW_FILES="})
	if err != nil || len(c.Allow.Env) > 0 || len(c.Allow.Files) > 0 {
		t.Errorf("%+v, %v; want that nothing is allowed", c.Allow, err)
	}
}

// A query has other defaults than an outbox, and what only means something with one is refused
// without.
func TestRelayOfAQuery(t *testing.T) {
	outbox := Default().Relay
	query := outbox
	query.Query = "SELECT"
	timed := query
	timed.Versions = VersionsTime
	for _, tt := range []struct {
		relay    Relay
		poll     time.Duration
		versions int64
		span     time.Duration
	}{{outbox, 250 * time.Millisecond, 10_000, 0}, {query, 5 * time.Second, 10_000, 0}, {timed, 5 * time.Second, 0, 5 * time.Minute}} {
		if versions, span, err := tt.relay.Overlaps(); tt.relay.PollEvery() != tt.poll || versions != tt.versions || span != tt.span || err != nil {
			t.Errorf("poll %s, overlap %d, %s, %v; want %+v", tt.relay.PollEvery(), versions, span, err, tt)
		}
	}
	for name, change := range map[string]func(*Relay){
		"relay.versions":               func(r *Relay) { r.Versions = "" },
		"relay.overlap: \"5m\"":        func(r *Relay) { r.Query, r.Overlap = "SELECT", "5m" },
		"relay.overlap: \"100\"":       func(r *Relay) { r.Query, r.Overlap, r.Versions = "SELECT", "100", VersionsTime },
		"relay.overlap: it is":         func(r *Relay) { r.Overlap = "7" },
		"relay.target: it is":          func(r *Relay) { r.Target = "a" },
		"relay.target: invalid":        func(r *Relay) { r.Query, r.Target = "SELECT", "topics/A" },
		"relay.compare_every: 1s is":   func(r *Relay) { r.Query, r.CompareEvery = "SELECT", Duration(time.Second) },
		"relay.compare_every: it is":   func(r *Relay) { r.CompareEvery = Duration(time.Hour) },
		"relay.poll: 1ms is outside 1": func(r *Relay) { r.Poll = Poll(time.Millisecond) },
	} {
		cfg := Default()
		change(&cfg.Relay)
		if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%v, want %s", err, name)
		}
	}
}

// A pause of zero is no way to ask for the default.
func TestRelayPollOfZeroIsRefused(t *testing.T) {
	cfg := Default()
	for _, s := range settings() {
		if s.path == "relay.poll" {
			if err := s.set(&cfg, "0s"); err == nil {
				t.Error("0s is taken")
			}
		}
	}
	if err := connectors.DecodeStrict([]byte("relay: {poll: 0s}\n"), &cfg); err == nil {
		t.Error("the file's 0s is taken")
	}
}
