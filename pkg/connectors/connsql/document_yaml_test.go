package connsql_test

import (
	"os"
	"regexp"
	"testing"

	"github.com/hms-utl/extsync/pkg/connectors/connsql"
)

// The configurations of the documentation are good ones.
func TestConfigurationsOfTheDocumentation(t *testing.T) {
	text, err := os.ReadFile("../../../docs/databases.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllSubmatch(text, -1)
	if len(blocks) == 0 {
		t.Error("there are none")
	}
	for _, block := range blocks {
		if err := connsql.Kind().Check(block[1]); err != nil {
			t.Errorf("%v in\n%s", err, block[1])
		}
	}
}
