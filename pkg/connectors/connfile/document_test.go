package connfile_test

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connfile"
)

// Every configuration in the document is one that the kinds take.
func TestDocumentShowsGoodConfigurations(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "files.md"))
	testkit.Must(t, err)
	seen := map[string]int{}
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
			config, err := yaml.Marshal(&c.Connector.Config)
			testkit.Must(t, err)
			kind := map[string]connectors.Kind{connfile.FileKind: connfile.File(), connfile.SFTPKind: connfile.SFTP()}[c.Connector.Kind]
			if err := kind.Check(config); err != nil {
				t.Errorf("%s: %v", c.Name, err)
			}
			seen[c.Connector.Kind]++
		}
	}
	if seen[connfile.FileKind] == 0 || seen[connfile.SFTPKind] < 2 {
		t.Errorf("the document shows %v", seen)
	}
}
