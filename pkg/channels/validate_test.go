package channels_test

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/connectors"
)

// catalog knows one kind, whose configuration must not hold the field bad.
func catalog() *connectors.Catalog {
	return connectors.NewCatalog(connectors.Kind{
		Name: "memory",
		Check: func(config []byte) error {
			var c struct {
				Good string `yaml:"good"`
			}
			return connectors.DecodeStrict(config, &c)
		},
		Open: func(context.Context, connectors.Env, []byte) (connectors.Connector, error) {
			return nil, errors.New("not opened here")
		},
	})
}

// Each file in testdata that starts with bad is refused, for the reasons in its
// first line: each part of it, split at " | ", is in the error.
func TestBadFiles(t *testing.T) {
	files, err := filepath.Glob("testdata/bad*.yml")
	if err != nil || len(files) < 5 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			reasons, _, _ := strings.Cut(strings.TrimPrefix(string(data), "# "), "\n")
			_, err = channels.DecodeFile(filepath.Base(file), data, catalog())
			if !errors.Is(err, connectors.ErrConfig) {
				t.Fatalf("got %v", err)
			}
			for _, reason := range strings.Split(reasons, " | ") {
				if !strings.Contains(err.Error(), reason) {
					t.Errorf("%q is missing in: %v", reason, err)
				}
			}
			for _, word := range []string{"unmarshal", "!!", "yaml:", "json:", "channels.Config", ": invalid configuration"} {
				if strings.Contains(err.Error(), word) {
					t.Errorf("%q is in: %v", word, err)
				}
			}
		})
	}
}

func TestDefaults(t *testing.T) {
	file, err := channels.DecodeFile("", []byte("channels: [{name: a, connector: {kind: memory}}]"), catalog())
	if err != nil {
		t.Fatal(err)
	}
	c := file.Channels[0]
	if err := c.Validate(catalog()); err != nil {
		t.Fatal(err)
	}
	if c.Mode != channels.Latest || c.Partitions != 1 || c.Concurrency != 16 || c.Window != 1024 ||
		c.MaxBytes.String() != "64MiB" || c.Timeout.D().String() != "30s" || c.Retry.MaxAttempts != 20 {
		t.Fatalf("not the documented defaults: %+v", c)
	}
}

// A connector's configuration goes from YAML to JSON and back without change,
// large whole numbers included.
func TestRawKeepsNumbersExact(t *testing.T) {
	raw := connectors.NewCatalog(connectors.Kind{Name: "raw", Check: func([]byte) error { return nil }})
	file, err := channels.DecodeFile("", []byte("channels: [{name: a, connector: {kind: raw, config: {n: 9007199254740993, s: '7'}}}]"), raw)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"n":9007199254740993,"s":"7"}`
	if got := string(file.Channels[0].Connector.Config); got != want {
		t.Fatalf("got %s", got)
	}
	text, err := yaml.Marshal(file)
	if err != nil {
		t.Fatal(err)
	}
	again, err := channels.DecodeFile("", text, raw)
	if err != nil {
		t.Fatalf("what was written cannot be read: %v\n%s", err, text)
	}
	var v map[string]any
	if err := json.Unmarshal(again.Channels[0].Connector.Config, &v); err != nil || string(again.Channels[0].Connector.Config) != want {
		t.Fatalf("%v: got %s", err, again.Channels[0].Connector.Config)
	}
}

func TestBytes(t *testing.T) {
	for text, want := range map[string]string{"1048576": "1MiB", "3GiB": "3GiB", " 5 KiB": "5KiB", "1025": "1025", "0": "0"} {
		var b channels.Bytes
		if err := b.UnmarshalText([]byte(text)); err != nil || b.String() != want {
			t.Errorf("%q: %s, %v", text, b, err)
		}
	}
	for _, text := range []string{"", "-1", "1.5MiB", "MiB", "9223372036854775807KiB", "1MB", "0x10"} {
		var b channels.Bytes
		if err := b.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q: %v gives %v", text, err, b)
		}
	}
}

func FuzzDecodeFile(f *testing.F) {
	f.Add([]byte("channels: [{name: a, connector: {kind: memory, config: {x: [1, {y: z}]}}}]"))
	f.Add([]byte(`{"channels":[{"name":"a","max_bytes":"1GiB","timeout":"1s"}]}`))
	f.Add([]byte("topics: [{name: t, max_bytes: 1MiB}]\nchannels: [{name: a, from: {topic: t, keys: p-}, connector: {kind: memory}}]"))
	f.Add([]byte("channels:\n  - name: &a b\n    description: *a\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := channels.DecodeFile("", data, catalog())
		if err != nil {
			if !errors.Is(err, connectors.ErrConfig) {
				t.Fatalf("an error without its class: %v", err)
			}
			return
		}
		if err := file.Validate(catalog()); err != nil {
			t.Fatalf("valid only where it was read: %v", err)
		}
		for _, c := range file.Channels { // what is valid survives being stored
			data, err := json.Marshal(c)
			if err != nil {
				t.Fatal(err)
			}
			var again channels.Config
			if err := json.Unmarshal(data, &again); err != nil {
				t.Fatalf("what was written cannot be read: %v: %s", err, data)
			}
			if err := again.Validate(catalog()); err != nil {
				t.Fatalf("valid before it was stored: %v", err)
			}
		}
	})
}

// Sizes whose sum over some channels is more than a number can hold made the reservation
// of all a small one.
func TestSizesThatCannotBeAddedUpAreRefused(t *testing.T) {
	catalog := connectors.NewCatalog(connectors.Kind{Name: "none", Check: func([]byte) error { return nil }})
	for _, change := range []func(*channels.Config){
		func(c *channels.Config) { c.MaxBytes = math.MaxInt64 },
		func(c *channels.Config) { c.Quota.Ledger = math.MaxInt64 },
		func(c *channels.Config) { c.Quota.DeadLetters = 1<<40 + 1 },
		func(c *channels.Config) { c.Quota.Parked = -1 },
	} {
		c := channels.Config{Name: "a", Connector: channels.Connector{Kind: "none"}}
		change(&c)
		c = c.WithDefaults()
		if err := c.Validate(catalog); !errors.Is(err, connectors.ErrConfig) {
			t.Errorf("max_bytes %s, quota %+v: %v", c.MaxBytes, c.Quota, err)
		}
	}
}
