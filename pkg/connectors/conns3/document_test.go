package conns3

import (
	"os"
	"regexp"
	"testing"
)

// The configurations of the documentation are good ones.
func TestConfigurationsOfTheDocumentation(t *testing.T) {
	text, err := os.ReadFile("../../../docs/objects.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllSubmatch(text, -1)
	if len(blocks) != 2 {
		t.Errorf("there are %d", len(blocks))
	}
	for _, block := range blocks {
		if err := Kind().Check(block[1]); err != nil {
			t.Errorf("%v in\n%s", err, block[1])
		}
	}
}
