package conncaldav_test

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/conncaldav"
	"github.com/hms-utl/extsync/pkg/connectors/connectortest"
	"github.com/hms-utl/extsync/pkg/render"
)

// Every channel in the document renders what its connector takes.
func TestDocumentShowsGoodChannels(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "calendars.md"))
	testkit.Must(t, err)
	var doc struct {
		Channels []struct {
			Name      string        `yaml:"name"`
			Render    render.Config `yaml:"render"`
			Connector struct {
				Config yaml.Node `yaml:"config"`
			} `yaml:"connector"`
		} `yaml:"channels"`
	}
	for _, block := range regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllSubmatch(text, -1) {
		testkit.Must(t, yaml.Unmarshal(block[1], &doc))
	}
	if len(doc.Channels) != 2 {
		t.Fatalf("the document has %d channels", len(doc.Channels))
	}
	for _, c := range doc.Channels {
		config, err := yaml.Marshal(&c.Connector.Config)
		testkit.Must(t, err)
		o, err := connectors.Open(t.Context(), conncaldav.Kind(), connectortest.Env(nil).ForPreview(connectors.Hidden), config)
		testkit.Must(t, err)
		closing(t, o)
		a := attempt("a-1", 7, []byte(`{"changed":"20260301T080000Z","start":"20260402T090000Z","end":"20260402T093000Z","title":"Review; bring: notes","what":"call","due":"20260402T090000Z"}`))
		renderer, err := render.New(c.Render)
		testkit.Must(t, err)
		a.Payload, err = renderer.Render(t.Context(), a.Payload, make([]any, len(render.Variables())))
		testkit.Must(t, err)
		if _, err := o.Preview(t.Context(), a); err != nil {
			t.Errorf("%s: %v", c.Name, err)
		}
	}
}
