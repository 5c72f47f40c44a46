package connmqtt_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/eclipse/paho.golang/paho"
	"go.yaml.in/yaml/v3"

	"github.com/hms-utl/extsync/internal/testdb"
	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connmqtt"
)

// Every configuration in the document is one that the kind takes.
func TestDocumentShowsGoodConfigurations(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "queues.md"))
	testkit.Must(t, err)
	seen := 0
	for _, block := range regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllSubmatch(text, -1) {
		var doc struct {
			Channels []struct {
				Name      string `yaml:"name"`
				Connector struct {
					Kind   string    `yaml:"kind"`
					Config yaml.Node `yaml:"config"`
				} `yaml:"connector"`
			} `yaml:"channels"`
		}
		testkit.Must(t, yaml.Unmarshal(block[1], &doc))
		for _, c := range doc.Channels {
			if c.Connector.Kind != connmqtt.Name {
				continue
			}
			config, err := yaml.Marshal(&c.Connector.Config)
			testkit.Must(t, err)
			if err := connmqtt.Kind().Check(config); err != nil {
				t.Errorf("%s: %v", c.Name, err)
			}
			seen++
		}
	}
	if seen != 2 {
		t.Errorf("the document shows %d configurations", seen)
	}
}

// The worked example of the document is what a subscriber gets.
func TestDocumentShowsWhatSubscribersGet(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "queues.md"))
	testkit.Must(t, err)
	block := regexp.MustCompile("(?s)```text\n(rooms/.*?)```").FindSubmatch(text)
	if block == nil {
		t.Fatal("there is no example")
	}
	s := testdb.StartMosquitto(t)
	c := connect(t, secrets(s), strings.Replace(config(s.Addr(), s.User, ""), "p/{key}", "rooms/{key}", 1))
	var out []string
	for _, a := range []connectors.Attempt{attempt("A-1/7", 3, `{"beds":2}`), attempt("A-1/7", 4, "")} {
		want(t, apply(t, c, a)[0], connectors.OK, "")
		got := make(chan *paho.Publish, 1)
		client, err := subscribe(t.Context(), s, "rooms/+", func(m *paho.Publish) { got <- m })
		testkit.Must(t, err)
		m := <-got
		testkit.Must(t, client.Disconnect(&paho.Disconnect{}))
		of := m.Properties.User.Get
		out = append(out, fmt.Sprintf("%s\n  content type   %s\n  subject        %s\n  entityversion  %s\n  op             %s\n  %s\n",
			m.Topic, m.Properties.ContentType, of("subject"), of("entityversion"), of("op"), m.Payload))
	}
	if got := strings.Join(out, "\n"); got != string(block[1]) {
		t.Errorf("the document shows\n%s\nand it is\n%s", block[1], got)
	}
}
