package connectortest

import (
	"errors"
	"strings"
	"testing"

	"github.com/hms-utl/extsync/pkg/connectors"
)

// InConfigs is a secret that a configuration of Configs may hold: no error shows it.
const InConfigs = "s3cr3t"

// Configs checks configurations of a kind, in YAML, by name: each with what its error says,
// or "" if it is good.
func Configs(t *testing.T, kind connectors.Kind, cases map[string][2]string) {
	t.Helper()
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			config, says := c[0], c[1]
			err := kind.Check([]byte(config))
			switch {
			case says == "" && err != nil:
				t.Fatal(err)
			case says == "":
			case !errors.Is(err, connectors.ErrConfig) || !strings.Contains(err.Error(), says):
				t.Errorf("error %v, want one of %q", err, says)
			case strings.Contains(err.Error(), InConfigs):
				t.Error("the error shows a secret")
			}
		})
	}
}
