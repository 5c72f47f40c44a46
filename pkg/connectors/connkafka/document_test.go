package connkafka_test

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/connectors/connkafka"
)

// Every configuration in the document is one that the kind takes.
func TestDocumentShowsGoodConfigurations(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "kafka.md"))
	testkit.Must(t, err)
	seen := 0
	for _, block := range regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllSubmatch(text, -1) {
		var doc struct {
			Channels []struct {
				Name      string `yaml:"name"`
				Connector struct {
					Config yaml.Node `yaml:"config"`
				} `yaml:"connector"`
			} `yaml:"channels"`
		}
		testkit.Must(t, yaml.Unmarshal(block[1], &doc))
		for _, c := range doc.Channels {
			config, err := yaml.Marshal(&c.Connector.Config)
			testkit.Must(t, err)
			if err := connkafka.Kind().Check(config); err != nil {
				t.Errorf("%s: %v", c.Name, err)
			}
			seen++
		}
	}
	if seen != 2 {
		t.Errorf("the document shows %d configurations", seen)
	}
}
