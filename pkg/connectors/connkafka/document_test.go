package connkafka_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connectortest"
	"github.com/hms-utl/extsync/pkg/connectors/connkafka"
)

// blocks returns the blocks of docs/kafka.md that are in a language.
func blocks(t *testing.T, language string) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "kafka.md"))
	testkit.Must(t, err)
	var out []string
	for _, block := range regexp.MustCompile("(?s)```"+language+"\n(.*?)```").FindAllSubmatch(text, -1) {
		out = append(out, string(block[1]))
	}
	return out
}

// shown returns the configurations that the document shows, by their channels.
func shown(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, block := range blocks(t, "yaml") {
		var doc struct {
			Channels []struct {
				Name      string `yaml:"name"`
				Connector struct {
					Config yaml.Node `yaml:"config"`
				} `yaml:"connector"`
			} `yaml:"channels"`
		}
		testkit.Must(t, yaml.Unmarshal([]byte(block), &doc))
		for _, c := range doc.Channels {
			config, err := yaml.Marshal(&c.Connector.Config)
			testkit.Must(t, err)
			out[c.Name] = string(config)
		}
	}
	return out
}

// Every configuration in the document is one that the kind takes.
func TestDocumentShowsGoodConfigurations(t *testing.T) {
	configs := shown(t)
	for name, config := range configs {
		if err := connkafka.Kind().Check([]byte(config)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(configs) != 2 {
		t.Errorf("the document shows %d configurations", len(configs))
	}
}

// Whoever follows the document has a topic that the first channel takes, and its consumers
// get what the worked example shows. Kafka's program is not here: what stands in its place
// tells what it was called with, and the test makes that topic, with one replica.
func TestDocumentIsFollowed(t *testing.T) {
	commands, examples := blocks(t, "sh"), blocks(t, "text")
	if len(commands) != 1 || len(examples) != 1 {
		t.Fatalf("the document has %d commands and %d examples", len(commands), len(examples))
	}
	name, partitions, settings := asked(t, commands[0])
	b := startBroker(t)
	b.topic(t, name, partitions, settings)
	var about struct {
		Topic string `yaml:"topic"`
	}
	testkit.Must(t, yaml.Unmarshal([]byte(shown(t)["people"]), &about))
	if about.Topic != name {
		t.Errorf("the channel writes to %q, and %q was made", about.Topic, name)
	}
	var notes []string
	env := connectortest.Env(nil)
	env.Log = func(line string) { notes = append(notes, line) }
	c, err := connectors.Open(t.Context(), connkafka.Kind(), env, []byte(config(b.addr, about.Topic, "")))
	testkit.Must(t, err)
	defer c.Close(context.WithoutCancel(t.Context())) //nolint:errcheck // it was used enough
	testkit.Must(t, c.Probe(t.Context()))
	if want := fmt.Sprintf("topic %s has %d partitions, cleanup.policy compact", name, partitions); strings.Join(notes, "\n") != want {
		t.Errorf("noted was %q, not %q", notes, want)
	}
	for _, a := range []connectors.Attempt{attempt("A-1/7", 3, `{"name":"Ada"}`), attempt("A-1/7", 4, "")} {
		want(t, apply(t, c, a)[0], connectors.OK, "")
	}
	var out []string
	for _, r := range newInbox(b, name).records(t, "A-1/7") {
		out = append(out, fmt.Sprintf("key %s\n  content-type      %s\n  ce_entityversion  %s\n  ce_op             %s\n  %s\n",
			r.Key, header(r, "content-type"), header(r, "ce_entityversion"), header(r, "ce_op"), r.Value))
	}
	if got := strings.Join(out, "\n"); got != examples[0] {
		t.Errorf("the document shows\n%s\nand it is\n%s", examples[0], got)
	}
}

// asked runs the document's command, and returns the topic that it asks kafka-topics.sh for.
func asked(t *testing.T, command string) (topic string, partitions int32, settings map[string]string) {
	t.Helper()
	dir := t.TempDir()
	testkit.Must(t, os.WriteFile(filepath.Join(dir, "kafka-topics.sh"), []byte("#!/bin/sh\nprintf '%s\\n' \"$@\"\n"), 0o700)) //nolint:gosec // a program
	run := exec.CommandContext(t.Context(), "sh", "-euc", command)
	run.Env = append(os.Environ(), "PATH="+dir+string(os.PathListSeparator)+os.Getenv("PATH"))
	out, err := run.CombinedOutput()
	testkit.Must(t, err)
	settings = map[string]string{}
	words := strings.Fields(string(out))
	for i := 0; i < len(words); i++ {
		if words[i] == "--create" {
			continue
		}
		if i++; i == len(words) {
			t.Fatalf("%s lacks its value", words[i-1])
		}
		switch value := words[i]; words[i-1] {
		case "--bootstrap-server", "--replication-factor": // where there is a cluster
		case "--topic":
			topic = value
		case "--partitions":
			_, err := fmt.Sscan(value, &partitions)
			testkit.Must(t, err)
		case "--config":
			name, value, _ := strings.Cut(value, "=")
			settings[name] = value
		default:
			t.Errorf("kafka-topics.sh knows no %s", words[i-1])
		}
	}
	return topic, partitions, settings
}
