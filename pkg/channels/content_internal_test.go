package channels

import (
	"testing"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/render"
)

// After a change of render the target holds what the older one made.
func TestRenderIsPartOfTheContent(t *testing.T) {
	catalog := connectors.NewCatalog()
	seen := map[any]string{}
	for name, r := range map[string]*render.Config{
		"none": nil, "json": {Format: render.JSON}, "csv": {Format: render.CSV}, "other columns": {Format: render.CSV, Columns: []string{"a"}},
		"a template": {Format: render.CSV, Template: "a"}, "another type": {Format: render.CSV, ContentType: "text/plain"},
	} {
		id := contentOf(Config{Render: r}, catalog)
		if other, there := seen[id]; there {
			t.Errorf("%s and %s are the same content", name, other)
		}
		seen[id] = name
	}
}
