package connhttp

import (
	"encoding/json"
	"net/http"
	"os"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/hms-utl/extsync/internal/testkit/apis"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/transform"
)

// exampleOf returns the configuration and the mapping of an example in docs/remember.md.
func exampleOf(t *testing.T, name string) (config, mapping string) {
	t.Helper()
	text, err := os.ReadFile("../../../docs/remember.md")
	if err != nil {
		t.Fatal(err)
	}
	_, block, found := strings.Cut(string(text), "<!-- test: "+name+" -->\n```yaml\n")
	block, _, closed := strings.Cut(block, "```")
	var file struct {
		Channels []struct {
			Mapping   string
			Connector struct{ Config map[string]any }
		}
	}
	if err := yaml.Unmarshal([]byte(block), &file); err != nil || !found || !closed || len(file.Channels) != 1 {
		t.Fatalf("%s: %v", name, err)
	}
	data, err := json.Marshal(file.Channels[0].Connector.Config)
	if err != nil {
		t.Fatal(err)
	}
	return string(data), file.Channels[0].Mapping
}

// TestExamplesOfTheDocument: the channels of docs/remember.md deliver a key's whole life,
// whatever answer is lost.
func TestExamplesOfTheDocument(t *testing.T) {
	contacts, files := &apis.Contacts{}, &apis.Files{}
	for name, api := range map[string]struct {
		http.Handler
		held func() int
	}{
		"contacts": {contacts, func() int { return len(contacts.Held("k")) }},
		"files": {files, func() int {
			if _, there, _ := files.Held("k"); there {
				return 1
			}
			return 0
		}},
	} {
		config, mapping := exampleOf(t, name)
		mapped, err := transform.New(transform.Config{Mapping: mapping})
		if err != nil {
			t.Fatal(err)
		}
		for lost := 1; lost <= 8; lost++ {
			front := &apis.Lossy{API: api}
			front.Decide(faulty(lost, 0, apis.Lost, apis.Answered))
			address := strings.NewReplacer("https://crm.example", "%[1]s", "https://dav.example", "%[1]s").Replace(config)
			e := newEngine(t, front, strings.TrimSuffix(address, "}")+`,"allow_cidrs":["127.0.0.0/8"]}`)
			for _, a := range life() {
				a, send, res := mapped.Apply(t.Context(), a)
				if !send {
					t.Fatal(res.Err)
				}
				if res := e.deliver(a); res.Class != connectors.OK {
					t.Fatalf("%s, answer %d lost: %s: %s (%v)", name, lost, a.Version, res.Class, res.Err)
				}
				want := 1
				if a.Op == events.Delete {
					want = 0
				}
				if api.held() != want {
					t.Fatalf("%s, answer %d lost: after %s the target has %d objects", name, lost, a.Version, api.held())
				}
			}
			contacts.Remove("k")
			files.Write("k", "")
		}
	}
}
