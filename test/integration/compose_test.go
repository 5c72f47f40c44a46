package integration

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// In the compose files the worker is the only one that reaches both the broker and the
// targets: a target that was taken over does not get at the broker.
func TestComposeKeepsTargetsFromTheBroker(t *testing.T) {
	for _, name := range []string{"docker-compose.yml", "docker-compose.cluster.yml"} {
		data, err := os.ReadFile(filepath.Join("..", "..", name))
		if err != nil {
			t.Fatal(err)
		}
		var file struct {
			Services map[string]struct{ Networks []string }
			Networks map[string]struct{}
		}
		if err := yaml.Unmarshal(data, &file); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		const broker, targets = "broker", "targets"
		for service, s := range file.Services {
			for _, n := range s.Networks {
				if _, there := file.Networks[n]; !there {
					t.Errorf("%s: %s is in a network %s, which is not there", name, service, n)
				}
			}
			want := broker
			switch service {
			case "postgres", "receiver":
				want = targets
			case "prometheus", "grafana":
				want = "metrics"
			case "connector-worker":
				if !slices.Contains(s.Networks, targets) {
					t.Errorf("%s: the worker does not reach the targets", name)
				}
			}
			if !slices.Contains(s.Networks, want) { // without any, a service is in the default one
				t.Errorf("%s: %s is in %v, not in %s", name, service, s.Networks, want)
			}
			if service != "connector-worker" && slices.Contains(s.Networks, broker) && slices.Contains(s.Networks, targets) ||
				want != broker && len(s.Networks) != 1 || strings.HasPrefix(service, "nats") && len(s.Networks) != 1 {
				t.Errorf("%s: %s is in %v", name, service, s.Networks)
			}
		}
		if len(file.Services) < 8 {
			t.Errorf("%s: only %d services", name, len(file.Services))
		}
	}
}
