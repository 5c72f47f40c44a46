package operate_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/kinds"
	"github.com/hms-utl/extsync/pkg/schema"
)

// compiled returns a schema as editors read it.
func compiled(t *testing.T, doc map[string]any) *jsonschema.Schema {
	t.Helper()
	data, err := json.Marshal(doc)
	testkit.Must(t, err)
	read, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	testkit.Must(t, err)
	c := jsonschema.NewCompiler()
	testkit.Must(t, c.AddResource("test.json", read))
	out, err := c.Compile("test.json")
	testkit.Must(t, err)
	return out
}

// Every kind describes each field of its configuration.
func TestEveryFieldOfEveryKindIsDescribed(t *testing.T) {
	for _, kind := range kinds.All().Kinds() {
		if kind.Config == nil {
			t.Errorf("%s does not describe its configuration", kind.Name)
			continue
		}
		for _, problem := range kind.Fields().Lint() {
			t.Errorf("%s: %s", kind.Name, problem)
		}
	}
}

// beside is what some fields need beside them, which tags do not say.
func beside(kind, path string) string {
	switch {
	case path == "auth.api_key", path == "auth.api_key.value":
		return "{auth: {api_key: {header: X-Api-Key}}}"
	case path == "answers[].retry_after":
		return "{answers: [{when: 'true', class: transient, retry_after: 30s}]}"
	case kind == "http" && strings.HasPrefix(path, "update"):
		return "{answers: [{when: 'true', class: ok, remember: {id: .body.id}}]}"
	case strings.HasPrefix(path, "proxy."):
		return "{proxy: {username: extsync, password: '${env:CHANNEL_PROXY_PASSWORD}'}}"
	case kind == "amqp" && path == "append_key":
		return "{exchange: appointments}"
	case kind == "amqp" && path != "exchange":
		return "{routing_key: appointments}" // or an exchange
	case kind == "kafka" && path == "password":
		return "{mechanism: scram-sha-512, user: extsync}"
	case kind == "file" && path == "max_batch":
		return "{layout: drop}"
	case kind == "sftp" && path == "max_batch":
		return "{layout: drop, private_key: '${file:/run/extsync/secrets/sftp_key}'}"
	case kind == "sftp":
		return "{private_key: '${file:/run/extsync/secrets/sftp_key}'}" // or password
	case kind == "sql" && strings.HasPrefix(path, "tls"):
		return "{dsn: 'postgres://extsync:${env:CHANNEL_ERP_PASSWORD}@erp.example/appointments'}" // which says nothing of TLS itself
	case kind == "redis" && path == "nodes":
		return "{cluster: true}"
	case kind == "redis" && path == "username", kind == "nats" && (path == "username" || path == "password"):
		return "{username: extsync, password: '${env:CHANNEL_PASSWORD}'}"
	}
	return ""
}

// The example of every field is one that the kind takes, and so does its schema.
func TestEveryExampleIsValid(t *testing.T) {
	for _, kind := range kinds.All().Kinds() {
		t.Run(kind.Name, func(t *testing.T) {
			s := compiled(t, kind.Schema())
			for _, line := range append([]schema.Line{{}}, kind.Fields().Lines()...) {
				sample := kind.Fields().Sample(line.Path)
				if more := beside(kind.Name, line.Path); more != "" {
					var m map[string]any
					testkit.Must(t, yaml.Unmarshal([]byte(more), &m))
					merge(sample, m)
				}
				data, err := json.Marshal(sample)
				testkit.Must(t, err)
				if err := kind.Check(data); err != nil {
					t.Errorf("%s: %v\n%s", line.Path, err, data)
				}
				v, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
				testkit.Must(t, err)
				if err := s.Validate(v); err != nil {
					t.Errorf("%s: %v\n%s", line.Path, err, data)
				}
			}
		})
	}
}

func TestEveryExampleOfAChannelIsValid(t *testing.T) {
	s := compiled(t, channels.Schema(kinds.All()))
	fields := schema.For[channels.Config]()
	for _, line := range fields.Lines() {
		sample := fields.Sample(line.Path)
		merge(sample, map[string]any{"connector": map[string]any{"kind": "http", "config": map[string]any{"url": "https://target.example/in"}}})
		data, err := json.Marshal(sample)
		testkit.Must(t, err)
		var p connectors.Problems
		var c channels.Config
		p.Decode(data, &c)
		c = c.WithDefaults()
		p.AddError("", c.Validate(kinds.All()))
		if err := p.Err(); err != nil {
			t.Errorf("%s: %v\n%s", line.Path, err, data)
		}
		v, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
		testkit.Must(t, err)
		if err := s.Validate(v); err != nil {
			t.Errorf("%s: %v\n%s", line.Path, err, data)
		}
	}
}

func merge(into, from map[string]any) {
	for name, value := range from {
		below, ok := into[name].(map[string]any)
		if more, both := value.(map[string]any); ok && both {
			merge(below, more)
		} else {
			into[name] = value
		}
	}
}

// Files of channels in the repository are valid for the programs and for editors, which
// find the schema by the first line.
func TestFilesOfChannels(t *testing.T) {
	modeline := regexp.MustCompile(`\A# yaml-language-server: \$schema=(\S+)\n`)
	s := compiled(t, channels.FileSchema(kinds.All()))
	for _, name := range []string{"examples/channels.yaml", "deploy/compose/channels.yaml"} {
		path := filepath.Join("..", "..", filepath.FromSlash(name))
		text, err := os.ReadFile(path)
		testkit.Must(t, err)
		if _, err := channels.DecodeFile(name, text, kinds.All()); err != nil {
			t.Errorf("%v", err)
		}
		var v any
		testkit.Must(t, yaml.Unmarshal(text, &v))
		if err := s.Validate(v); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		m := modeline.FindSubmatch(text)
		if m == nil {
			t.Errorf("%s: its first line names no schema", name)
			continue
		}
		at := filepath.Join(filepath.Dir(path), filepath.FromSlash(string(m[1])))
		if _, err := os.Stat(at); err != nil || !strings.HasSuffix(at, filepath.FromSlash("examples/channels.schema.json")) {
			t.Errorf("%s names the schema %s: %v", name, m[1], err)
		}
	}
}
