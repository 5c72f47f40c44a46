package channels_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/schema"
)

func TestEveryFieldIsDescribed(t *testing.T) {
	for _, problem := range schema.For[channels.Config]().Lint() {
		t.Error(problem)
	}
}

// The tags name numbers that other packages fix.
func TestTagsAgreeWithTheRest(t *testing.T) {
	for _, line := range schema.For[channels.Config]().Lines() {
		if line.Path == "partitions" {
			var want []string
			for _, n := range wire.PartitionCounts() {
				want = append(want, strconv.Itoa(n))
			}
			if !slices.Equal(line.Enum, want) {
				t.Errorf("partitions: %v, and a channel may have %v", line.Enum, want)
			}
		}
	}
	name := strings.Repeat("a", 63)
	for text, good := range map[string]bool{name: true, name + "a": false} {
		c := channels.Config{Name: text, Connector: channels.Connector{Kind: "memory"}}.WithDefaults()
		if err := c.Validate(catalog()); (err == nil) != good || (events.CheckChannel(text) == nil) != good {
			t.Errorf("a name of %d bytes: %v", len(text), err)
		}
	}
}

// Editors find the same files good as the programs do.
func TestFileSchema(t *testing.T) {
	type config struct {
		Good string `yaml:"good" required:"true"`
	}
	c := connectors.NewCatalog(connectors.Kind{Name: "memory", Config: config{}, Check: func(data []byte) error {
		return connectors.DecodeStrict(data, new(config))
	}})
	data, err := json.Marshal(channels.FileSchema(c))
	testkit.Must(t, err)
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	testkit.Must(t, err)
	compiler := jsonschema.NewCompiler()
	testkit.Must(t, compiler.AddResource("channels.json", doc))
	s, err := compiler.Compile("channels.json")
	testkit.Must(t, err)

	texts := []string{
		"channels: [{name: a, connector: {kind: memory, config: {good: x}}}]",
		"channels: [{name: a, retry: {max_backoff: 1h}, quota: {rate: 5, ledger: 64MiB}, max_bytes: 2097152, connector: {kind: memory, config: {good: x}}}]",
		"channels: [{name: a, connector: {kind: memory, config: {goood: x}}}]",
		"channels: [{name: a, connector: {kind: memory, config: {}}}]",
		"channels: [{name: a, connector: {kind: memory}}]",
		"channels: [{name: a, connector: {config: {good: x}}}]",
		"channels: [{name: a, connector: {kind: ftp, config: {good: x}}}]",
		"channels: [{connector: {kind: memory, config: {good: x}}}]",
	}
	files, err := filepath.Glob("testdata/bad_*.yml")
	testkit.Must(t, err)
	for _, file := range files {
		text, err := os.ReadFile(file)
		testkit.Must(t, err)
		if base := filepath.Base(file); !slices.Contains([]string{"bad_empty.yml", "bad_expressions.yml", "bad_repeated_key.yml", "bad_twice.yml", "bad_two_documents.yml"}, base) {
			texts = append(texts, string(text))
		}
	}
	for _, text := range texts {
		_, err := channels.DecodeFile("", []byte(text), c)
		var v any
		testkit.Must(t, yaml.Unmarshal([]byte(text), &v))
		if refusal := s.Validate(v); (err == nil) != (refusal == nil) {
			t.Errorf("%s\nprogram: %v\nschema: %v", text, err, refusal)
		}
	}
}
